#ifndef LAZYNORM_SERVER_METRICS_RPC_METRICS_H_
#define LAZYNORM_SERVER_METRICS_RPC_METRICS_H_

#include <array>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace prometheus {
class Counter;
class Histogram;
}  // namespace prometheus

namespace lazynorm {

enum class RpcType { kUnary, kClientStream, kServerStream, kBidiStream };

// The series of one rpc, all at 0 from the start. Made by Metrics::AddRpc, which owns it.
// Thread-safe.
class RpcMetrics {
 public:
  // A call arrived.
  void Started();
  // A message was read from, or is being written to, the caller.
  void Received();
  void Sent();
  // A call ended with `code`, `elapsed` after it arrived.
  void Finished(absl::StatusCode code, absl::Duration elapsed);

 private:
  friend class Metrics;
  RpcMetrics() = default;

  // Owned by the registry of the Metrics that made this.
  prometheus::Counter* started_ = nullptr;
  prometheus::Counter* received_ = nullptr;
  prometheus::Counter* sent_ = nullptr;
  prometheus::Histogram* seconds_ = nullptr;
  std::array<prometheus::Counter*, 17> handled_ = {};  // by canonical code
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_RPC_METRICS_H_
