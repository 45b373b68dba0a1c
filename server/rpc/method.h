#ifndef LAZYNORM_SERVER_RPC_METHOD_H_
#define LAZYNORM_SERVER_RPC_METHOD_H_

#include <grpcpp/completion_queue.h>

#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/access.h"

namespace lazynorm {

class Admission;
class Guard;
class Timers;

// The metadata key under which a replica shows the store's secret with what it brings to another.
inline constexpr char kForwardedKey[] = "lazynorm-forwarded";

// How one method differs from the others.
struct MethodOptions {
  // Answered in every phase, and its streams are neither counted nor ended when draining.
  bool always_open = false;
  // A server stream that comes to an end by itself: draining lets it.
  bool ends_by_itself = false;
  // Messages of a bidirectional stream in work at once; reading pauses beyond.
  int window = 64;
};

// What all calls of one method share. Immutable once the transport has started.
struct Method {
  std::string service;
  std::string name;
  RpcType type = RpcType::kUnary;
  MethodOptions options;
  Access access;
  RpcMetrics* metrics = nullptr;
  Admission* admission = nullptr;
  Guard* guard = nullptr;            // null: everybody may do everything
  absl::string_view replica_secret;  // "": no replica brings anything
  Timers* timers = nullptr;
  grpc::ServerCompletionQueue* queue = nullptr;
  // Asks gRPC for one more call of this method.
  std::function<void()> post;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_METHOD_H_
