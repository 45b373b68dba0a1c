#ifndef LAZYNORM_SERVER_RPC_GRPC_LOG_H_
#define LAZYNORM_SERVER_RPC_GRPC_LOG_H_

namespace lazynorm {

// From now on what gRPC itself has to say becomes records of the log like all others (event=grpc)
// instead of lines of its own. For the whole process; GRPC_VERBOSITY still decides how much it
// says.
void LogWhatGrpcSays();

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_GRPC_LOG_H_
