import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startServer } from './server.js';

const program = fileURLToPath(new URL('node_modules/.bin/buf', import.meta.url));

let server;
before(async () => { server = await startServer(); });
after(async () => { await server.stop(); });

function buf(...args) {
  const run = spawnSync(program, args, { encoding: 'utf8', cwd: process.env.LAZYNORM_PROTO });
  return { code: run.status, out: run.stdout ?? '', all: `${run.stdout}${run.stderr}${run.error ?? ''}` };
}

function curl(method, request) {
  const run = buf('curl', '--protocol', 'grpc', '--http2-prior-knowledge',
    '--reflect', '--reflect-protocol', 'grpc-v1alpha',
    '--data', JSON.stringify(request), `http://${server.address}/${method}`);
  assert.equal(run.code, 0, run.all);
  return JSON.parse(run.out);
}

test('buf lint has nothing to say about the API', () => {
  const run = buf('lint');
  assert.equal(run.code, 0, run.all);
  assert.equal(run.all, '');
});

test('buf curl lists all methods', () => {
  const run = buf('curl', '--protocol', 'grpc', '--http2-prior-knowledge', '--list-methods',
    `http://${server.address}`);
  assert.equal(run.code, 0, run.all);
  for (const method of ['lazynorm.v1.ModelService/CreateModel', 'lazynorm.v1.TrainingService/Train',
    'lazynorm.v1.PredictionService/Predict', 'grpc.health.v1.Health/Check']) {
    assert.ok(run.out.includes(method), `${method} is not in\n${run.out}`);
  }
});

test('buf curl creates a model and predicts with it, by reflection alone', () => {
  curl('lazynorm.v1.ModelService/CreateModel', { modelId: 'curled', spec: { mlp: { hidden: [4] } } });
  const answer = curl('lazynorm.v1.PredictionService/Predict',
    { model: 'curled', features: { rows: 1, columns: 3, values: [0.5, -1, 2] } });
  assert.equal(answer.predictions.rows, 1);
  assert.equal(answer.predictions.values.length, 1);
});
