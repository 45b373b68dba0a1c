#include "server/metrics/rpc_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>

#include <cstddef>

namespace lazynorm {

void RpcMetrics::Started() {
  started_->Increment();
}
void RpcMetrics::Received() {
  received_->Increment();
}
void RpcMetrics::Sent() {
  sent_->Increment();
}

void RpcMetrics::Finished(absl::StatusCode code, absl::Duration elapsed) {
  const size_t index = static_cast<size_t>(code);
  const size_t unknown = static_cast<size_t>(absl::StatusCode::kUnknown);
  handled_[index < handled_.size() ? index : unknown]->Increment();
  seconds_->Observe(absl::ToDoubleSeconds(elapsed));
}

}  // namespace lazynorm
