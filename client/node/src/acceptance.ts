// The scenario of ../../README.md: acceptance ADDRESS.
import assert from 'node:assert/strict';
import { Client, LazynormError } from './index.js';

const model = 'acceptance-node';
const spec = { mlp: { hidden: [16] }, optimizer: { adam: { lr: 0.01 } }, seed: 7 };

// Features and targets: quarters and sixteenths, which float32 holds exactly.
function rows(first: number, count: number): { x: number[][]; targets: number[] } {
  const x = Array.from({ length: count }, (_, i) => {
    const n = first + i;
    return [(n * 7) % 11 - 5, (n * 5) % 13 - 6, (n * 3) % 17 - 8].map((value) => value / 4);
  });
  return { x, targets: x.map(([a = 0, b = 0, c = 0]) => a - 2 * b + a * c) };
}

const fixed = (value: number) => value.toFixed(6);

function report(what: string, figures: Record<string, string | number>): void {
  console.log([what, ...Object.entries(figures).map(([name, value]) => `${name}=${value}`)].join(' '));
}

async function refusal(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof LazynormError, String(error));
    report('error', { code: error.code, reason: error.reason ?? '', field: error.field ?? '-' });
    return true;
  });
}

async function statistics(client: Client): Promise<{ running: [string, number[]][]; weight?: number[] }> {
  const state = await client.getState(model);
  const running = [...state].filter(([name]) => /running_mean|running_var|num_batches_tracked$/.test(name));
  return { running, weight: state.get('0.weight') };
}

async function create(client: Client): Promise<void> {
  await client.deleteModel(model).catch((error: LazynormError) => { // of an earlier run
    if (error.code !== 'NOT_FOUND') throw error;
  });
  const created = await client.createModel(model, spec);
  assert.equal(created.state, 'STATE_LAZY');
  report('create', { step: created.step });
}

async function train(client: Client): Promise<void> {
  const steps = [];
  for (let k = 0; k < 50; k++) {
    const { x, targets } = rows(16 * k, 16);
    steps.push(await client.train(model, x, { targets }));
  }
  assert.deepEqual(steps.map(({ step }) => step), steps.map((_, k) => k + 1));
  const [first, last] = [steps[0]!, steps[49]!];
  assert.ok(last.prequentialLoss < first.prequentialLoss, 'a loss that falls');
  report('train', { step: last.step, loss: fixed(last.loss), prequential_loss: fixed(last.prequentialLoss) });
}

async function predict(client: Client): Promise<void> {
  const { values, step } = await client.predict(model, rows(800, 3).x, { minStep: 50 });
  assert.deepEqual(values.map((row) => row.length), [1, 1, 1]);
  report('predict', { step, values: values.flat().map(fixed).join() });
}

async function evaluate(client: Client): Promise<void> {
  const { x, targets } = rows(800, 100);
  const evaluation = await client.evaluate(model, x, { targets });
  const { values } = await client.predict(model, x);
  const error = values.flat().reduce((sum, value, i) => sum + (value - targets[i]!) ** 2, 0) / 100;
  assert.ok(Math.abs(evaluation.loss - error) < 1e-5 * evaluation.loss, 'the mean squared error');
  report('evaluate', { rows: evaluation.rows, loss: fixed(evaluation.loss), r2: fixed(evaluation.r2!) });
}

async function freeze(client: Client): Promise<void> {
  assert.ok((await client.freezeStatistics(model)).statisticsFrozen);
  const before = await statistics(client);
  const first = rows(900, 16);
  const frozen = await client.train(model, first.x, first);
  const after = await statistics(client);
  assert.equal(before.running.length, 3);
  assert.deepEqual(after.running, before.running, 'statistics unchanged');
  assert.notDeepEqual(after.weight, before.weight, 'weights that go on learning');
  assert.ok(!(await client.unfreezeStatistics(model)).statisticsFrozen);
  const second = rows(916, 16);
  const moving = await client.train(model, second.x, second);
  assert.notDeepEqual((await statistics(client)).running, after.running, 'statistics that move again');
  report('freeze', { step: moving.step, frozen_loss: fixed(frozen.loss), loss: fixed(moving.loss) });
}

async function errors(client: Client): Promise<void> {
  await refusal(client.predict(model, [[0, 0]]));
  await refusal(client.predict(model, [[0, NaN, 0]]));
  await refusal(client.predict('no-such-model', [[0, 0, 0]]));
}

async function retry(client: Client): Promise<void> {
  const { x, targets } = rows(932, 16);
  const first = await client.train(model, x, { targets, requestId: 'acceptance-1' });
  const again = await client.train(model, x, { targets, requestId: 'acceptance-1' });
  assert.ok(again.replayed);
  assert.deepEqual([again.step, again.loss], [first.step, first.loss]);
  assert.equal((await client.getModel(model)).step, first.step);
  report('retry', { step: again.step, loss: fixed(again.loss) });
  const other = rows(948, 16);
  await refusal(client.train(model, other.x, { ...other, requestId: 'acceptance-1' }));
}

async function remove(client: Client): Promise<void> {
  await client.deleteModel(model);
  await refusal(client.getModel(model));
}

const [address] = process.argv.slice(2);
const { LAZYNORM_TLS_CA: ca, LAZYNORM_TOKEN: token } = process.env;
const client = new Client(address, { tls: ca ? { ca } : undefined, token });
try {
  for (const part of [create, train, predict, evaluate, freeze, errors, retry, remove]) await part(client);
  console.log('ok');
} finally {
  client.close();
}
