export { Client, type ClientOptions, type Prediction, type Rows, type TrainOptions } from './client.js';
export { LazynormError, type Code } from './errors.js';
export type { Evaluation, Model, ModelSpec, Step } from './protos.js';
