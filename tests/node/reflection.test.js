import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readdirSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { describe, listServices, methodsOf } from './reflection.js';
import { startServer } from './server.js';

const protos = process.env.LAZYNORM_PROTO;
const reflection = 'grpc.reflection.v1alpha.ServerReflection';

let server;
before(async () => { server = await startServer(); });
after(async () => { await server.stop(); });

function definitionOfTheFiles() {
  const files = readdirSync(protos, { recursive: true }).filter((name) => name.endsWith('.proto'));
  return loader.loadSync(files, { includeDirs: [protos], keepCase: true });
}

const isService = (entry) => entry.format === undefined;

test('the services are those of the .proto files, reflection among them', async () => {
  const definition = definitionOfTheFiles();
  const expected = Object.keys(definition).filter((name) => isService(definition[name]));
  assert.ok(expected.includes('lazynorm.v1.PredictionService'));
  assert.ok(expected.includes(reflection));
  assert.deepEqual((await listServices(server.address)).sort(), expected.sort());
});

test('reflection tells every method of every service as the .proto files have it', async () => {
  const told = methodsOf(await describe(server.address, await listServices(server.address)));
  assert.ok(told.length > 15, `only ${told.length} methods`);
  assert.deepEqual(told, methodsOf(definitionOfTheFiles()));
});

test('a client made by reflection alone creates, trains and predicts', async () => {
  const names = (await listServices(server.address)).filter((name) => name.startsWith('lazynorm.'));
  const { v1 } = grpc.loadPackageDefinition(await describe(server.address, names)).lazynorm;
  const make = (Service) => new Service(server.address, grpc.credentials.createInsecure());
  const call = (client, method, request) => new Promise((resolve, reject) => {
    client[method](request, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
  const [models, training, prediction] =
    [v1.ModelService, v1.TrainingService, v1.PredictionService].map(make);
  try {
    const model = await call(models, 'CreateModel',
      { model_id: 'reflected', spec: { mlp: { hidden: [4] }, in_features: 2 } });
    assert.equal(model.state, 'STATE_READY');
    const features = { rows: 2, columns: 2, values: [1, 2, 3, 5] };
    const step = await call(training, 'Train',
      { model: 'reflected', features, targets: { rows: 2, columns: 1, values: [1, -1] } });
    assert.equal(step.step, '1');
    const answer = await call(prediction, 'Predict', { model: 'reflected', features });
    assert.equal(answer.step, '1');
    assert.equal(answer.predictions.rows, 2);
    assert.ok(answer.predictions.values.every(Number.isFinite));
  } finally {
    for (const client of [models, training, prediction]) client.close();
  }
});
