// The services and messages of the .proto files that lie beside this package.
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import type { ProtoGrpcType as Details } from './generated/error_details.js';
import type { ProtoGrpcType as Models } from './generated/model_service.js';
import type { ProtoGrpcType as Predictions } from './generated/prediction_service.js';
import type { ProtoGrpcType as Status } from './generated/status.js';
import type { ProtoGrpcType as Trainings } from './generated/training_service.js';

export type { EvaluateResponse__Output as Evaluation } from './generated/lazynorm/v1/EvaluateResponse.js';
export type { Model__Output as Model } from './generated/lazynorm/v1/Model.js';
export type { ModelSpec } from './generated/lazynorm/v1/ModelSpec.js';
export type { TrainResponse__Output as Step } from './generated/lazynorm/v1/TrainResponse.js';

// The types in generated/ are made with the same settings.
const definition = loader.loadSync(
  [
    'lazynorm/v1/model_service.proto',
    'lazynorm/v1/training_service.proto',
    'lazynorm/v1/prediction_service.proto',
    'google/rpc/status.proto',
    'google/rpc/error_details.proto',
  ],
  {
    includeDirs: [fileURLToPath(new URL('../proto', import.meta.url))],
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  },
);

type Package = Models & Trainings & Predictions & Details & Status;
export const { lazynorm, google } = grpc.loadPackageDefinition(definition) as unknown as Package;
