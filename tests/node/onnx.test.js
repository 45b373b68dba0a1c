// Exported models in another runtime: the numbers are those that Predict gives.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import ort from 'onnxruntime-node';
import { startServer } from './server.js';

const definition = loader.loadSync(
  ['lazynorm/v1/model_service.proto', 'lazynorm/v1/training_service.proto',
    'lazynorm/v1/prediction_service.proto'],
  { includeDirs: [process.env.LAZYNORM_PROTO], keepCase: true, longs: String, enums: String });
const { v1 } = grpc.loadPackageDefinition(definition).lazynorm;

let server;
let clients;
before(async () => {
  server = await startServer();
  const make = (Service) => new Service(server.address, grpc.credentials.createInsecure());
  clients = {
    models: make(v1.ModelService), training: make(v1.TrainingService), prediction: make(v1.PredictionService),
  };
});
after(async () => {
  for (const client of Object.values(clients)) client.close();
  await server.stop();
});

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    clients[client][method](request, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

function exported(model, format = 'EXPORT_FORMAT_ONNX') {
  return new Promise((resolve, reject) => {
    const pieces = [];
    clients.models.ExportModel({ model, format })
      .on('data', (piece) => pieces.push(piece.data)).on('error', reject)
      .on('end', () => resolve(Buffer.concat(pieces)));
  });
}

const COLUMNS = 4;

// Rows of numbers around `center`, the same every time.
function matrix(rows, seed, center = 0) {
  const values = Array.from({ length: rows * COLUMNS },
    (_, i) => center + 2 * Math.sin(12.9898 * (i + 1) + 78.233 * seed));
  return { rows, columns: COLUMNS, values };
}

// Creates a model, lets it learn, and gives what Predict and what the exported model say.
async function both(id, spec, { outputs = 1, classes = 0, center = 0 } = {}) {
  await call('models', 'CreateModel', { model_id: id, spec });
  for (let step = 0; step < 30; ++step) {
    const features = matrix(16, step, center);
    const score = (i) => features.values[i * COLUMNS] - features.values[i * COLUMNS + 1];
    const rows = [...Array(16).keys()];
    const labels = classes > 0 ? rows.map((i) => Math.abs(Math.round(score(i))) % classes) : [];
    const targets = classes > 0 ? null
      : { rows: 16, columns: outputs, values: rows.flatMap((i) => Array(outputs).fill(50 + 10 * score(i))) };
    await call('training', 'Train', { model: id, features, targets, labels });
  }
  const features = matrix(32, 1000, center);
  // Some far from all that was learned.
  for (let i = 0; i < 8; ++i) features.values[i] += 1000 * (i % 2 ? 1 : -1);
  const { predictions } = await call('prediction', 'Predict', { model: id, features });
  const session = await ort.InferenceSession.create(await exported(id));
  const x = new ort.Tensor('float32', Float32Array.from(features.values), [32, COLUMNS]);
  return { predicted: predictions.values, told: await session.run({ features: x }), features };
}

function assertClose(actual, expected, tolerance) {
  const scale = Math.max(1, ...expected.map(Math.abs));
  const error = Math.max(...expected.map((value, i) => Math.abs(actual[i] - value)));
  assert.equal(actual.length, expected.length);
  assert.ok(error <= tolerance * scale, `off by ${error}, of ${scale}`);
}

const linear = (out_features) => ({ linear: { out_features } });
const norm = (more = {}) => ({ batch_norm: more });
const running = norm({ training_statistics: 'TRAINING_STATISTICS_RUNNING', momentum: 0.01 });
const act = (kind, more = {}) => ({ activation: { kind: `ACTIVATION_KIND_${kind}`, ...more } });
const experts = [
  { updates_per_request: 1 }, { replay: { capacity: 100, rows_per_step: 16 }, updates_per_request: 1 },
  { replay: { capacity: 100, rows_per_step: 16 }, updates_per_request: 4, learning_rate: 0.02 }];

const cases = {
  'batch-norms': { layers: [norm(), linear(8), norm(), act('RELU'), linear(1)] },
  'without-affine': { layers: [norm({ affine: false }), linear(8), norm({ affine: false }), act('TANH'), linear(1)] },
  'dropout-and-bias': { layers: [{ linear: { out_features: 8, bias: false } }, norm(), { dropout: { p: 0.3 } }, linear(1)] },
  'running-and-targets': {
    layers: [running, linear(8), running, act('RELU'), linear(1)],
    learning: { normalize_targets: true, clip_grad_norm: 1 },
  },
  'running-without-affine': {
    layers: [norm({ affine: false, training_statistics: 'TRAINING_STATISTICS_RUNNING' }), linear(1)],
  },
  activations: {
    layers: ['LEAKY_RELU', 'ELU', 'SELU', 'GELU', 'SILU', 'TANH', 'SIGMOID', 'SOFTPLUS', 'IDENTITY', 'RELU']
      .flatMap((kind) => [linear(6), act(kind, kind === 'LEAKY_RELU' ? { negative_slope: 0.2 } : {})])
      .concat([linear(1)]),
  },
  experts: {
    layers: [running, linear(8), running, act('RELU'), linear(1)],
    learning: { normalize_targets: true, experts, hedge_rate: 0.3, hedge_discount: 0.95 },
  },
};

for (const [id, spec] of Object.entries(cases)) {
  test(`${id}: ONNX gives the numbers of Predict`, async () => {
    const { predicted, told } = await both(id, spec);
    assert.deepEqual(Object.keys(told), ['predictions']);
    assert.deepEqual(told.predictions.dims, [32, 1]);
    assertClose([...told.predictions.data], predicted, 2e-6);
  });
}

test('features far from 0 keep their digits', async () => {
  const { predicted, told } = await both('far', cases['batch-norms'], { center: 736000 });
  assertClose([...told.predictions.data], predicted, 2e-6);
});

for (const [id, loss, classes, outputs] of [
  ['many-classes', 'CROSS_ENTROPY', 3, 3], ['two-classes', 'BCE_WITH_LOGITS', 2, 1]]) {
  for (const several of [false, true]) {
    test(`${id}${several ? ', experts' : ''}: logits and probabilities`, async () => {
      const spec = {
        layers: [norm(), linear(8), norm(), act('RELU'), linear(outputs)], loss: { kind: `LOSS_KIND_${loss}` },
        learning: several ? { experts, hedge_rate: 0.3, hedge_discount: 0.95 } : {},
      };
      const model = `${id}${several ? '-experts' : ''}`;
      const { predicted, told, features } = await both(model, spec, { classes });
      const { predictions } = await call('prediction', 'Predict',
        { model, features, output: 'OUTPUT_PROBABILITIES' });
      assertClose([...told.probabilities.data], predictions.values, 2e-6);
      assertClose([...told.predictions.data], predicted, 1e-5);
    });
  }
}

test('what cannot be said in ONNX is refused', async () => {
  const refused = (error) => error.code === grpc.status.FAILED_PRECONDITION;
  await call('models', 'CreateModel', { model_id: 'lazy', spec: { layers: [linear(1)] } });
  await assert.rejects(exported('lazy'), refused);
  await assert.rejects(exported('lazy', 'EXPORT_FORMAT_SAFETENSORS'), refused);
  await call('models', 'CreateModel', {
    model_id: 'untracked',
    spec: { in_features: 2, layers: [norm({ track_running_stats: false }), linear(1)] },
  });
  await assert.rejects(exported('untracked'), (error) => refused(error) && /layer 0/.test(error.details));
  assert.ok((await exported('untracked', 'EXPORT_FORMAT_SAFETENSORS')).length > 8);
});
