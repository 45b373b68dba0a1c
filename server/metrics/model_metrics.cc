#include "server/metrics/model_metrics.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/metrics/buckets.h"

namespace lazynorm {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// The order of kFamilies.
enum Family {
  kTrainLoss,
  kPrequentialLoss,
  kPrequentialLossDistribution,
  kStep,
  kRowsTrained,
  kRowsPredicted,
  kTrainRejected,
  kBatchNormShift,
  kExpertWeight,
  kDrift,
  kDriftLevel,
  kLossGap,
  kGradientNorm,
  kParameterNorm,
  kStatisticsFrozen,
  kRememberedPredictions,
  kQueueDepth,
  kLagSeconds,
  kLagSteps,
  kSnapshotAge,
  kStepSeconds,
};

struct Description {
  const char* name;
  const char* help;
  MetricType type;
};

// One for each Family, in their order.
constexpr Description kFamilies[] = {
    {"lazynorm_train_loss", "Loss of the trained rows in train mode, exponentially weighted.",
     MetricType::Gauge},
    {"lazynorm_prequential_loss",
     "Loss of each request's rows before learning from them, exponentially weighted.",
     MetricType::Gauge},
    {"lazynorm_prequential_loss_distribution",
     "Loss of each request's rows before learning from them.", MetricType::Histogram},
    {"lazynorm_model_step", "Learning steps the model has taken.", MetricType::Gauge},
    {"lazynorm_rows_trained_total", "Rows learned from.", MetricType::Counter},
    {"lazynorm_rows_predicted_total", "Rows predicted.", MetricType::Counter},
    {"lazynorm_train_rejected_total", "Train requests refused, by reason.", MetricType::Counter},
    {"lazynorm_batch_norm_shift",
     "Distance of the latest batch's mean from the running mean, in running standard deviations, "
     "by layer.",
     MetricType::Gauge},
    {"lazynorm_expert_weight", "What an expert counts in predictions, by its place in the spec.",
     MetricType::Gauge},
    {"lazynorm_drift_total", "Times that the prequential loss was found to have risen for good.",
     MetricType::Counter},
    {"lazynorm_drift_level",
     "How far the recent rise of the prequential loss is on its way to counting as drift, from 0 "
     "to 1.",
     MetricType::Gauge},
    {"lazynorm_loss_gap",
     "Train less prequential loss, exponentially weighted, in the target's units.",
     MetricType::Gauge},
    {"lazynorm_gradient_norm", "L2 norm of the latest gradient.", MetricType::Gauge},
    {"lazynorm_parameter_norm", "L2 norm of the parameters.", MetricType::Gauge},
    {"lazynorm_statistics_frozen", "1 while the running statistics are frozen.", MetricType::Gauge},
    {"lazynorm_remembered_predictions", "Predictions that wait for their labels.",
     MetricType::Gauge},
    {"lazynorm_train_queue_depth", "Train requests that wait for their turn.", MetricType::Gauge},
    {"lazynorm_replica_lag_seconds",
     "How long what this replica serves has been behind the model's writer; 0 at the writer's.",
     MetricType::Gauge},
    {"lazynorm_replica_lag_steps",
     "Learning steps by which what this replica serves is behind the model's writer.",
     MetricType::Gauge},
    {"lazynorm_snapshot_age_seconds", "Time since the model's newest snapshot, or its creation.",
     MetricType::Gauge},
    {"lazynorm_step_seconds", "Time to compute a learning step.", MetricType::Histogram},
};
static_assert(std::size(kFamilies) == kStepSeconds + 1);

// The reasons a Train can be refused for; anything else would be a label from outside.
constexpr absl::string_view kReasons[] = {
    "WIDTH_MISMATCH",  "SHAPE_MISMATCH",     "NON_FINITE_VALUE", "EMPTY_BATCH",
    "TOO_FEW_ROWS",    "LABEL_OUT_OF_RANGE", "TARGET_MISMATCH",  "INVALID_WEIGHTS",
    "INVALID_UPDATE",  "REQUEST_ID_REUSED",  "MODEL_NOT_FOUND",  "UNKNOWN_PREDICTION_ID",
    "NON_FINITE_STEP", "LIMIT_EXCEEDED",     "QUEUE_FULL",       "RATE_LIMITED",
    "STORE_FULL",      "STORE_FAILED",       "MODEL_DAMAGED",    "STARTING",
    "DRAINING",        "NO_WRITER",          "HOLDER_LOST",
};
constexpr absl::string_view kOtherReason = "INTERNAL";

// Adds a sample to `family`, its labels the model and what `metric` already has.
void Add(const std::string& model, ClientMetric metric, MetricFamily* family) {
  metric.label.insert(metric.label.begin(), {"model", model});
  family->metric.push_back(std::move(metric));
}

ClientMetric WithLabel(ClientMetric metric, const std::string& name, const std::string& value) {
  metric.label.push_back({name, value});
  return metric;
}

ClientMetric GaugeOf(double value) {
  ClientMetric metric;
  metric.gauge.value = value;
  return metric;
}

}  // namespace

ModelMetrics::ModelMetrics(absl::string_view model, absl::Span<const int> batch_norm_layers)
    : model_(model),
      batch_norm_layers_(batch_norm_layers.begin(), batch_norm_layers.end()),
      prequential_loss_distribution_(LossBuckets()),
      batch_norm_shift_(batch_norm_layers.size()),
      step_seconds_(SecondsBuckets()) {}

void ModelMetrics::Trained(const TrainedStep& step) {
  // One infinite observation would spoil the histogram's sum for good.
  if (std::isfinite(step.prequential_loss)) {
    prequential_loss_distribution_.Observe(step.prequential_loss);
  }
  rows_trained_.Increment(static_cast<double>(step.rows));
  if (step.drift) drift_.Increment();
  step_seconds_.Observe(absl::ToDoubleSeconds(step.step_time));
}

void ModelMetrics::SetLearning(const LearningState& state) {
  train_loss_.Set(state.train_loss);
  prequential_loss_.Set(state.prequential_loss);
  loss_gap_.Set(state.loss_gap);
  gradient_norm_.Set(state.gradient_norm);
  parameter_norm_.Set(state.parameter_norm);
  drift_level_.Set(state.drift_level);
  const size_t layers = std::min(batch_norm_shift_.size(), state.batch_norm_shift.size());
  for (size_t i = 0; i < layers; ++i) batch_norm_shift_[i].Set(state.batch_norm_shift[i]);
  MutexLock lock(&mutex_);
  expert_weights_.assign(state.expert_weights.begin(), state.expert_weights.end());
}

void ModelMetrics::TrainRejected(absl::string_view reason) {
  const bool known =
      std::find(std::begin(kReasons), std::end(kReasons), reason) != std::end(kReasons);
  MutexLock lock(&mutex_);
  rejected_[std::string(known ? reason : kOtherReason)].Increment();
}

void ModelMetrics::RowsPredicted(int64_t rows) {
  rows_predicted_.Increment(static_cast<double>(rows));
}

void ModelMetrics::SetStep(int64_t step) {
  step_.Set(static_cast<double>(step));
}

void ModelMetrics::SetStatisticsFrozen(bool frozen) {
  statistics_frozen_.Set(frozen ? 1 : 0);
}

void ModelMetrics::SetRememberedPredictions(int64_t rows) {
  remembered_predictions_.Set(static_cast<double>(rows));
}

void ModelMetrics::SetSnapshotTime(absl::Time time) {
  snapshot_micros_ = absl::ToUnixMicros(time);
}

void ModelMetrics::SetReplicaLag(absl::Duration time, int64_t steps) {
  lag_seconds_.Set(absl::ToDoubleSeconds(time));
  lag_steps_.Set(static_cast<double>(steps));
  replicated_ = true;
}

void ModelMetrics::SetQueueDepth(int64_t depth) {
  queue_depth_.Set(static_cast<double>(depth));
}

std::vector<MetricFamily> ModelMetrics::Families() {
  std::vector<MetricFamily> families;
  for (const Description& family : kFamilies) {
    families.push_back({family.name, family.help, family.type, {}});
  }
  return families;
}

void ModelMetrics::Collect(std::vector<MetricFamily>* families) const {
  const auto add = [&](Family family, ClientMetric metric) {
    Add(model_, std::move(metric), &(*families)[family]);
  };
  add(kPrequentialLossDistribution, prequential_loss_distribution_.Collect());
  add(kStep, step_.Collect());
  add(kRowsTrained, rows_trained_.Collect());
  add(kRowsPredicted, rows_predicted_.Collect());
  add(kStatisticsFrozen, statistics_frozen_.Collect());
  add(kRememberedPredictions, remembered_predictions_.Collect());
  add(kQueueDepth, queue_depth_.Collect());
  if (replicated_) {
    add(kLagSeconds, lag_seconds_.Collect());
    add(kLagSteps, lag_steps_.Collect());
  }
  if (const int64_t micros = snapshot_micros_; micros != 0) {
    add(kSnapshotAge, GaugeOf(absl::ToDoubleSeconds(absl::Now() - absl::FromUnixMicros(micros))));
  }
  add(kStepSeconds, step_seconds_.Collect());
  add(kDrift, drift_.Collect());
  {
    MutexLock lock(&mutex_);
    for (const auto& [reason, count] : rejected_) {
      add(kTrainRejected, WithLabel(count.Collect(), "reason", reason));
    }
  }
  if (step_.Value() == 0) return;
  add(kTrainLoss, train_loss_.Collect());
  add(kPrequentialLoss, prequential_loss_.Collect());
  add(kDriftLevel, drift_level_.Collect());
  add(kLossGap, loss_gap_.Collect());
  add(kGradientNorm, gradient_norm_.Collect());
  add(kParameterNorm, parameter_norm_.Collect());
  for (size_t i = 0; i < batch_norm_shift_.size(); ++i) {
    add(kBatchNormShift,
        WithLabel(batch_norm_shift_[i].Collect(), "layer", absl::StrCat(batch_norm_layers_[i])));
  }
  MutexLock lock(&mutex_);
  for (size_t k = 0; k < expert_weights_.size(); ++k) {
    add(kExpertWeight, WithLabel(GaugeOf(expert_weights_[k]), "expert", absl::StrCat(k)));
  }
}

}  // namespace lazynorm
