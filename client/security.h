#ifndef LAZYNORM_CLIENT_SECURITY_H_
#define LAZYNORM_CLIENT_SECURITY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "grpcpp/grpcpp.h"

namespace lazynorm {

// TLS if anything of it is asked for, else plain text. INVALID_ARGUMENT as Client::Connect.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(
    const ClientOptions& options);

// Sends the token, if there is one, with the call.
void Authorize(const ClientOptions& options, grpc::ClientContext* context);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_SECURITY_H_
