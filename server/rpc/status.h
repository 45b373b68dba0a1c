#ifndef LAZYNORM_SERVER_RPC_STATUS_H_
#define LAZYNORM_SERVER_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace lazynorm {

// Payload URL of a retry hint other than the default: milliseconds in decimal.
inline constexpr char kRetryMsUrl[] = "lazynorm/retry_ms";

// `status` with a retry hint.
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

// The one way out for errors. The details are a google.rpc.Status with
//   ErrorInfo   always: the reason (model/errors.h), or the code's name; domain "lazynorm"
//   BadRequest  if the error names a field
//   RetryInfo   on RESOURCE_EXHAUSTED and UNAVAILABLE: after 100 ms, or WithRetryAfter's
// Text is cut to 1 KiB of valid UTF-8: it travels three times, and common clients refuse more than
// 8 KiB of trailers.
grpc::Status ToGrpcStatus(const absl::Status& status);
// The way back, for what another replica has answered: reason, field and retry hint are kept.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_STATUS_H_
