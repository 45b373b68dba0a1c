#ifndef LAZYNORM_SERVER_METRICS_MODEL_METRICS_H_
#define LAZYNORM_SERVER_METRICS_MODEL_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "prometheus/metric_family.h"
#include "server/base/mutex.h"

namespace lazynorm {

// What one accepted and durable Train request did.
struct TrainedStep {
  int64_t rows = 0;             // of the request
  double prequential_loss = 0;  // of its rows
  bool drift = false;           // found with it
  absl::Duration step_time;     // computing it
};

// How a model's learning stands after its latest step, whoever took it.
struct LearningState {
  double train_loss = 0;        // exponentially weighted
  double prequential_loss = 0;  // exponentially weighted
  double loss_gap = 0;          // train less prequential loss, exponentially weighted
  double gradient_norm = 0;
  double parameter_norm = 0;
  absl::Span<const double> batch_norm_shift;  // one a batch-norm layer, in the order of AddModel
  absl::Span<const double> expert_weights;
  double drift_level = 0;  // from 0 to 1, where drift is found
};

// The series of one model. Made by Metrics::AddModel, shown until Metrics::RemoveModel; a late call
// on a removed model's is harmless and seen by nobody. The series that only learning gives a value
// (losses, norms, shifts) are shown of a model that has taken a step. Thread-safe.
class ModelMetrics {
 public:
  // `batch_norm_layers`: the indices of the batch-norm layers, ascending.
  ModelMetrics(absl::string_view model, absl::Span<const int> batch_norm_layers);

  void Trained(const TrainedStep& step);
  // `reason` is the refusal's stable reason; one that is not known counts as "INTERNAL".
  void TrainRejected(absl::string_view reason);
  // One Predict of that many rows was answered.
  void RowsPredicted(int64_t rows);
  // Where the model stands: after a step, but after recovery or a restored checkpoint too.
  void SetLearning(const LearningState& state);
  void SetStep(int64_t step);
  void SetStatisticsFrozen(bool frozen);
  // Predictions that wait for their labels.
  void SetRememberedPredictions(int64_t rows);
  // Of the newest snapshot; the creation before that.
  void SetSnapshotTime(absl::Time time);
  // How far what is served here is behind what the model's writer has kept: none at the writer's.
  // Shown only once it was told.
  void SetReplicaLag(absl::Duration time, int64_t steps);
  // Train requests that wait for their turn.
  void SetQueueDepth(int64_t depth);

 private:
  friend class Metrics;

  // The families of all models, without a sample, in a fixed order.
  static std::vector<prometheus::MetricFamily> Families();
  // Adds this model's samples to what Families() made.
  void Collect(std::vector<prometheus::MetricFamily>* families) const;

  const std::string model_;
  const std::vector<int> batch_norm_layers_;
  std::atomic<int64_t> snapshot_micros_ = 0;  // since the epoch; 0: never
  prometheus::Gauge train_loss_;
  prometheus::Gauge prequential_loss_;
  prometheus::Histogram prequential_loss_distribution_;
  prometheus::Gauge step_;
  prometheus::Counter rows_trained_;
  prometheus::Counter rows_predicted_;
  std::vector<prometheus::Gauge> batch_norm_shift_;
  prometheus::Gauge loss_gap_;
  prometheus::Counter drift_;
  prometheus::Gauge drift_level_;
  prometheus::Gauge gradient_norm_;
  prometheus::Gauge parameter_norm_;
  prometheus::Gauge statistics_frozen_;
  prometheus::Gauge remembered_predictions_;
  prometheus::Gauge queue_depth_;
  std::atomic<bool> replicated_ = false;
  prometheus::Gauge lag_seconds_;
  prometheus::Gauge lag_steps_;
  prometheus::Histogram step_seconds_;

  mutable Mutex mutex_;
  std::map<std::string, prometheus::Counter> rejected_ ABSL_GUARDED_BY(mutex_);  // by reason
  std::vector<double> expert_weights_ ABSL_GUARDED_BY(mutex_);  // as many as there are now
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_MODEL_METRICS_H_
