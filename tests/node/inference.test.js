// What the widely used client of the Open Inference Protocol does, on a model that learns meanwhile:
// raw tensors, no model_version, and keys like priority only when asked to.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { startServer } from './server.js';

const definition = loader.loadSync(
  ['inference/inference_service.proto', 'lazynorm/v1/model_service.proto',
    'lazynorm/v1/training_service.proto', 'lazynorm/v1/prediction_service.proto'],
  { includeDirs: [process.env.LAZYNORM_PROTO], keepCase: true, longs: String, oneofs: true });
const { inference, lazynorm } = grpc.loadPackageDefinition(definition);

let server;
let clients;
before(async () => {
  server = await startServer();
  const make = (Service) => new Service(server.address, grpc.credentials.createInsecure(),
    { 'grpc.max_receive_message_length': 2 ** 31 - 1, 'grpc.max_send_message_length': 2 ** 31 - 1 });
  clients = {
    infer: make(inference.GRPCInferenceService), models: make(lazynorm.v1.ModelService),
    training: make(lazynorm.v1.TrainingService), prediction: make(lazynorm.v1.PredictionService),
  };
  await call('models', 'CreateModel', { model_id: 'm', spec: { mlp: { hidden: [8] } } });
  await train(0);
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

const rows = (n, seed) => Array.from({ length: 2 * n }, (_, i) => Math.sin(seed + 1.7 * i));

function train(seed) {
  const values = rows(8, seed);
  const targets = Array.from({ length: 8 }, (_, i) => values[2 * i] + 2 * values[2 * i + 1]);
  return call('training', 'Train', {
    model: 'm', features: { rows: 8, columns: 2, values }, targets: { rows: 8, columns: 1, values: targets },
  });
}

const bytesOf = (values) => Buffer.from(new Float32Array(values).buffer);
const floatsOf = (bytes) => new Float32Array(new Uint8Array(bytes).buffer);

function query(values, more = {}) {
  return {
    model_name: 'm', id: 'q1',
    inputs: [{ name: 'features', datatype: 'FP32', shape: [values.length / 2, 2] }],
    outputs: [{ name: 'predictions' }], raw_input_contents: [bytesOf(values)], ...more,
  };
}

async function predicted(values) {
  const answer = await call('prediction', 'Predict',
    { model: 'm', features: { rows: values.length / 2, columns: 2, values } });
  return new Float32Array(answer.predictions.values);
}

test('live, ready, metadata: what a client asks before it infers', async () => {
  assert.equal((await call('infer', 'ServerLive', {})).live, true);
  assert.equal((await call('infer', 'ServerReady', {})).ready, true);
  assert.equal((await call('infer', 'ModelReady', { name: 'm' })).ready, true);
  assert.equal((await call('infer', 'ServerMetadata', {})).name, 'lazynorm');
  const metadata = await call('infer', 'ModelMetadata', { name: 'm' });
  assert.deepEqual(metadata.inputs[0].shape, ['-1', '2']);
  assert.equal(metadata.outputs[0].name, 'predictions');
  const { config } = await call('infer', 'ModelConfig', { name: 'm' });
  assert.equal(config.max_batch_size, 65536);
});

test('raw inference gives the bits that Predict gives', async () => {
  const values = rows(5, 3);
  const answer = await call('infer', 'ModelInfer',
    query(values, { parameters: { priority: { uint64_param: '1' }, sequence_id: { int64_param: '0' } } }));
  assert.equal(answer.id, 'q1');
  assert.deepEqual(answer.outputs[0].shape, ['5', '1']);
  assert.deepEqual(floatsOf(answer.raw_output_contents[0]), await predicted(values));
});

test('a model that learns is inferred with, and its version rises', async () => {
  let learning = true;
  const learner = (async () => { for (let i = 1; learning; ++i) await train(i); })();
  const versions = [];
  for (const end = Date.now() + 120000; Date.now() < end && new Set(versions).size < 10;) {
    versions.push(Number((await call('infer', 'ModelInfer', query(rows(4, 1)))).model_version));
  }
  learning = false;
  await learner;
  assert.deepEqual(versions, [...versions].sort((a, b) => a - b));
  assert.ok(new Set(versions).size >= 10, `versions ${versions}`);
});

test('an error is a code and a message', async () => {
  const wide = query(rows(3, 1));
  wide.inputs[0].shape = [2, 3];
  await assert.rejects(call('infer', 'ModelInfer', wide), (error) =>
    error.code === grpc.status.INVALID_ARGUMENT && /expected 2 columns, got 3/.test(error.details));
  await assert.rejects(call('infer', 'ModelInfer', { ...query(rows(3, 1)), model_name: 'x' }),
    (error) => error.code === grpc.status.NOT_FOUND);
});

test('a stream answers in order and survives a bad request', async () => {
  const stream = clients.infer.ModelStreamInfer();
  const answers = [];
  const ended = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
  stream.on('data', (answer) => answers.push(answer));
  for (let i = 0; i < 20; ++i) stream.write(query(rows(2, i), { id: String(i) }));
  stream.write({ ...query(rows(2, 1)), model_name: 'x' });
  stream.write(query(rows(2, 1), { id: 'last' }));
  stream.end();
  await ended;
  assert.deepEqual(answers.slice(0, 20).map((answer) => answer.infer_response.id),
    Array.from({ length: 20 }, (_, i) => String(i)));
  assert.match(answers[20].error_message, /no model/);
  assert.ok(!answers[21].error_message);
  assert.equal(answers[21].infer_response.id, 'last');
});

test('the REST form gives the same numbers', async () => {
  const values = rows(5, 3);
  const answer = await fetch(`${server.http}/v2/models/m/infer`, {
    method: 'POST',
    body: JSON.stringify({
      inputs: [{ name: 'features', datatype: 'FP32', shape: [5, 2], data: [...new Float32Array(values)] }],
    }),
  });
  assert.equal(answer.status, 200);
  const { outputs } = await answer.json();
  assert.deepEqual(new Float32Array(outputs[0].data), await predicted(values));
  const missing = await fetch(`${server.http}/v2/models/x`);
  assert.equal(missing.status, 404);
  assert.match((await missing.json()).error, /"x"/);
});
