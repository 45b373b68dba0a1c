// Asks a server what it offers, and makes clients of the answer. Nothing here knows a service but
// reflection.
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import descriptor from 'protobufjs/ext/descriptor/index.js';

const options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const { ServerReflection } = grpc.loadPackageDefinition(
  loader.loadSync('grpc/reflection/v1alpha/reflection.proto',
    { ...options, includeDirs: [process.env.LAZYNORM_PROTO] })).grpc.reflection.v1alpha;

async function ask(address, request) {
  const client = new ServerReflection(address, grpc.credentials.createInsecure());
  const stream = client.ServerReflectionInfo();
  try {
    return await new Promise((resolve, reject) => {
      stream.on('error', reject);
      stream.on('data', (answer) => {
        if (answer.error_response) reject(new Error(answer.error_response.error_message));
        else resolve(answer);
      });
      stream.write(request);
    });
  } finally {
    stream.end();
    client.close();
  }
}

// The full names of all services.
export async function listServices(address) {
  const answer = await ask(address, { list_services: '*' });
  return answer.list_services_response.service.map((service) => service.name);
}

// What grpc-js makes clients of, by the full names of services and messages.
export async function describe(address, symbols) {
  const files = new Map();
  for (const symbol of symbols) {
    const answer = await ask(address, { file_containing_symbol: symbol });
    for (const bytes of answer.file_descriptor_response.file_descriptor_proto) {
      const proto = descriptor.FileDescriptorProto.decode(bytes);
      files.set(proto.name, proto);
    }
  }
  const set = descriptor.FileDescriptorSet.fromObject({ file: [...files.values()] });
  return loader.loadFileDescriptorSetFromBuffer(
    Buffer.from(descriptor.FileDescriptorSet.encode(set).finish()), options);
}

// Each method of a package definition as "service/method kind request response", sorted.
export function methodsOf(definition) {
  const kind = (method) =>
    (method.requestStream ? 'stream ' : '') + method.path.slice(1) +
    (method.responseStream ? ' stream' : '');
  return Object.values(definition)
    .filter((entry) => entry.format === undefined)
    .flatMap((service) => Object.values(service).map(
      (method) => `${kind(method)} ${method.requestType.type.name} ${method.responseType.type.name}`))
    .sort();
}
