#ifndef LAZYNORM_SERVER_METRICS_METRICS_H_
#define LAZYNORM_SERVER_METRICS_METRICS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/base/mutex.h"
#include "server/metrics/model_metrics.h"
#include "server/metrics/rpc_metrics.h"

namespace prometheus {
class Registry;
}  // namespace prometheus

namespace lazynorm {

// Everything the server tells Prometheus. Names, labels, help texts and buckets live in this room;
// callers say what happened, in plain numbers. Lives as long as the server. Thread-safe.
class Metrics {
 public:
  // What lazynorm_build_info shows: the version, and which instructions arithmetic uses.
  Metrics(absl::string_view version, absl::string_view kernels);
  ~Metrics();

  // The series of one rpc. `service` is its full name, "lazynorm.v1.TrainingService". The result
  // lives as long as this.
  RpcMetrics* AddRpc(absl::string_view service, absl::string_view method, RpcType type);

  // The series of a model, from now until RemoveModel. A name used again begins anew.
  std::shared_ptr<ModelMetrics> AddModel(absl::string_view model,
                                         absl::Span<const int> batch_norm_layers);
  // Takes all series of a model out of the next scrape. Unknown models are ignored.
  void RemoveModel(absl::string_view model);

  // A group commit of the journal, of all models that waited.
  void Committed(absl::Duration time, int64_t bytes);
  // How long it took at the start to read all models back.
  void SetRecoverySeconds(double seconds);

  // When the certificate that is served with ends; without TLS there is no such series.
  void SetCertificateExpiry(absl::Time end);
  // Whether the file that was changed could not be used. `what` is tls or tokens; without such a
  // file there is no such series.
  void SetReloadFailed(absl::string_view what, bool failed);
  // Of several replicas that share a store: how many are alive, and how many models this one
  // writes. Shown only once it was told.
  void SetReplicas(int64_t replicas, int64_t models_held);
  // How many of the others are alive, but have been out of reach for a while.
  void SetReplicasUnreachable(int64_t replicas);
  // A call was taken to the replica that writes its model. `method` is one of AddRpc's.
  void Forwarded(absl::string_view method);

  // The text format, version 0.0.4.
  std::string Expose() const;

 private:
  const absl::Time start_;
  const std::unique_ptr<prometheus::Registry> registry_;  // thread-safe itself
  prometheus::Histogram* const commit_seconds_;
  prometheus::Counter* const journal_bytes_;
  prometheus::Gauge* const recovery_seconds_;

  mutable Mutex mutex_;
  std::vector<std::unique_ptr<RpcMetrics>> rpcs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<ModelMetrics>> models_ ABSL_GUARDED_BY(mutex_);
  prometheus::Gauge* replicas_ ABSL_GUARDED_BY(mutex_) = nullptr;
  prometheus::Gauge* models_held_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::map<std::string, prometheus::Counter*, std::less<>> forwarded_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_METRICS_H_
