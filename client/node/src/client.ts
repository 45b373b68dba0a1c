import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  credentials, Metadata, type CallOptions, type ChannelCredentials, type requestCallback,
} from '@grpc/grpc-js';
import { LazynormError } from './errors.js';
import type { GetModelStateResponse__Output } from './generated/lazynorm/v1/GetModelStateResponse.js';
import type { Matrix, Matrix__Output } from './generated/lazynorm/v1/Matrix.js';
import type { PredictResponse__Output } from './generated/lazynorm/v1/PredictResponse.js';
import { lazynorm, type Evaluation, type Model, type ModelSpec, type Step } from './protos.js';
import { untilDeadline } from './retry.js';

/** A row of numbers each. */
export type Rows = ArrayLike<number>[];

export interface ClientOptions {
  /** For a call with all its retries; 30 s unless given. */
  timeoutMs?: number;
  /** true for the system's authorities, or PEM files. cert and key are for mutual TLS. */
  tls?: true | { ca?: string; cert?: string; key?: string };
  /** Sent as bearer token with every call; needs TLS except on this machine. */
  token?: string;
}

/** Besides features: what the rows should have given, for training and evaluation. */
export interface Answers {
  /** A number a row for models with one output, or a row of numbers; for all losses but cross entropy. */
  targets?: ArrayLike<number> | Rows;
  /** A class a row. */
  labels?: number[];
  sampleWeights?: number[];
}

export interface TrainOptions extends Answers {
  /** The same one again answers the first result and trains nothing. A random one unless given. */
  requestId?: string;
}

export interface Prediction {
  values: number[][];
  /** Of the model that predicted. */
  step: number;
}

type Start<Response> = (
  metadata: Metadata, options: CallOptions, done: requestCallback<Response>,
) => unknown;

/**
 * A connection to a server. Errors are LazynormErrors.
 *
 * What can be sent twice without harm is tried again while the server is away or says when to come back.
 * Training is among it because each request carries a requestId, made by the client if need be.
 */
export class Client {
  /** The services as generated, for the rpcs that have no method here. */
  readonly models;
  readonly training;
  readonly prediction;
  readonly #timeoutMs: number;
  readonly #metadata = new Metadata();

  constructor(address = '127.0.0.1:50051', options: ClientOptions = {}) {
    if (options.token && !options.tls && !/^(unix:|localhost:|127\.|\[::1\]:)/.test(address)) {
      throw new TypeError('token: expected tls, or a server on this machine');
    }
    if (options.token) this.#metadata.set('authorization', `Bearer ${options.token}`);
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    const channel = channelCredentials(options.tls);
    const settings = {
      'grpc.service_config': '{"loadBalancingConfig": [{"round_robin": {}}]}',
      'grpc.keepalive_time_ms': 60_000,
      'grpc.max_receive_message_length': -1, // a model's state may be large
    };
    this.models = new lazynorm.v1.ModelService(address, channel, settings);
    this.training = new lazynorm.v1.TrainingService(address, channel, settings);
    this.prediction = new lazynorm.v1.PredictionService(address, channel, settings);
  }

  close(): void {
    for (const service of [this.models, this.training, this.prediction]) service.close();
  }

  createModel(modelId: string, spec: ModelSpec): Promise<Model> {
    return this.#call(false, (...rest) => this.models.CreateModel({ modelId, spec }, ...rest));
  }

  getModel(model: string): Promise<Model> {
    return this.#call(true, (...rest) => this.models.GetModel({ model }, ...rest));
  }

  async deleteModel(model: string): Promise<void> {
    await this.#call(false, (...rest) => this.models.DeleteModel({ model }, ...rest));
  }

  /** A torch state_dict: each tensor flat, row-major. */
  async getState(model: string): Promise<Map<string, number[]>> {
    const answer = await this.#call<GetModelStateResponse__Output>(
      true, (...rest) => this.models.GetModelState({ model }, ...rest));
    return new Map(answer.tensors.map((tensor) =>
      [tensor.name, tensor.int64Values.length > 0 ? tensor.int64Values : tensor.values]));
  }

  /** From now on training leaves the running statistics alone and normalises with them. */
  freezeStatistics(model: string): Promise<Model> {
    return this.#call(true, (...rest) => this.models.FreezeStatistics({ model }, ...rest));
  }

  unfreezeStatistics(model: string): Promise<Model> {
    return this.#call(true, (...rest) => this.models.UnfreezeStatistics({ model }, ...rest));
  }

  /** One learning step. */
  train(model: string, features: Rows, options: TrainOptions): Promise<Step> {
    const request = { ...example(model, features, options), requestId: options.requestId ?? randomUUID() };
    return this.#call(true, (...rest) => this.training.Train(request, ...rest));
  }

  /** minStep: waits, within the timeout, until the model has reached it. */
  async predict(
    model: string, features: Rows, options: { minStep?: number; probabilities?: boolean } = {},
  ): Promise<Prediction> {
    const answer = await this.#call<PredictResponse__Output>(true, (...rest) => this.prediction.Predict({
      model,
      features: toMatrix(features),
      minStep: options.minStep,
      output: options.probabilities ? 'OUTPUT_PROBABILITIES' : 'OUTPUT_RAW',
    }, ...rest));
    return { values: answer.predictions ? toRows(answer.predictions) : [], step: answer.step };
  }

  evaluate(model: string, features: Rows, answers: Answers): Promise<Evaluation> {
    const request = example(model, features, answers);
    return this.#call(true, (...rest) => this.prediction.Evaluate(request, ...rest));
  }

  #call<Response>(repeatable: boolean, start: Start<Response>): Promise<Response> {
    return untilDeadline(this.#timeoutMs, repeatable, (deadline) => new Promise((resolve, reject) => {
      start(this.#metadata, { deadline }, (error, answer) => {
        if (error) reject(new LazynormError(error));
        else resolve(answer as Response);
      });
    }));
  }
}

function channelCredentials(tls: ClientOptions['tls']): ChannelCredentials {
  if (!tls) return credentials.createInsecure();
  const { ca, cert, key } = tls === true ? {} as { ca?: string; cert?: string; key?: string } : tls;
  const read = (path?: string) => (path === undefined ? null : readFileSync(path));
  return credentials.createSsl(read(ca), read(key), read(cert));
}

function example(model: string, features: Rows, { targets, labels, sampleWeights }: Answers) {
  const rows = targets && Array.from(targets as ArrayLike<number | ArrayLike<number>>,
    (target) => (typeof target === 'number' ? [target] : target));
  return { model, features: toMatrix(features), targets: rows && toMatrix(rows), labels, sampleWeights };
}

function toMatrix(rows: Rows): Matrix {
  const columns = rows[0]?.length ?? 0;
  if (rows.some((row) => row.length !== columns)) throw new TypeError('expected rows of equal width');
  return { rows: rows.length, columns, values: rows.flatMap((row) => Array.from(row)) };
}

function toRows({ rows, columns, values }: Matrix__Output): number[][] {
  return Array.from({ length: rows }, (_, i) => values.slice(i * columns, (i + 1) * columns));
}
