#ifndef LAZYNORM_CLIENT_STATUS_H_
#define LAZYNORM_CLIENT_STATUS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace lazynorm {

// A gRPC status as an absl::Status: code, message, and each detail of grpc-status-details-bin as a
// payload under its type URL ("type.googleapis.com/google.rpc.ErrorInfo"). Nobody but a server that
// shuts down as the call arrives cancels one of ours: CANCELLED without details is UNAVAILABLE.
absl::Status FromGrpc(const grpc::Status& status);

// When the server said to come back (google.rpc.RetryInfo), if it did.
std::optional<absl::Duration> RetryDelayOf(const absl::Status& status);

// Whether the same call may succeed later: the server is away, starting or draining, the connection
// was lost, or a queue was full and the server said when to come back.
bool IsRetryable(const absl::Status& status);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_STATUS_H_
