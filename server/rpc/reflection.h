#ifndef LAZYNORM_SERVER_RPC_REFLECTION_H_
#define LAZYNORM_SERVER_RPC_REFLECTION_H_

namespace lazynorm {

class Transport;

// Serves grpc.reflection.v1alpha.ServerReflection in every phase: the services of the transport,
// this one included, and the .proto files that they are described in.
void AddReflectionService(Transport& transport);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_REFLECTION_H_
