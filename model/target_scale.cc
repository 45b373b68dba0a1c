#include "model/target_scale.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/archive.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

constexpr double kMomentum = 0.01;  // the share of a new batch
constexpr double kEps = 1e-12;

constexpr char kMean[] = "targets.running_mean";
constexpr char kVar[] = "targets.running_var";
constexpr char kBatches[] = "targets.num_batches_tracked";

std::vector<float> ToFloats(const Eigen::ArrayXd& values) {
  const Eigen::ArrayXf floats = values.cast<float>();
  return {floats.data(), floats.data() + floats.size()};
}

}  // namespace

bool TargetScale::Owns(absl::string_view name) {
  return name == kMean || name == kVar || name == kBatches;
}

void TargetScale::AddTensors(std::vector<StateTensor>& tensors) const {
  tensors.push_back({kMean, {mean_.size()}, ToFloats(mean_), {}});
  tensors.push_back({kVar, {var_.size()}, ToFloats(var_), {}});
  tensors.push_back({kBatches, {}, {}, {batches_}});
}

absl::Status TargetScale::SetTensors(const std::vector<StateTensor>& tensors) {
  TargetScale read = *this;
  int found = 0;
  for (const StateTensor& t : tensors) {
    const bool counter = t.name == kBatches;
    const bool sized = counter ? t.int64_values.size() == 1 && t.values.empty()
                               : static_cast<int64_t>(t.values.size()) == mean_.size();
    for (float v : t.values) {
      if (std::isfinite(v) && (t.name != kVar || v >= 0)) continue;
      return InvalidState("initial_state",
                          absl::StrCat("expected finite numbers in ", t.name, ", got ", v));
    }
    if (!sized || (counter && (t.int64_values[0] < 0 || t.int64_values[0] > kMostCount))) {
      return InvalidState("initial_state", absl::StrCat("expected ", mean_.size(),
                                                        " numbers an output in ", t.name));
    }
    found |= counter ? 4 : t.name == kVar ? 2 : 1;
    if (counter) read.batches_ = t.int64_values[0];
    for (size_t i = 0; i < t.values.size(); ++i) {
      (t.name == kVar ? read.var_ : read.mean_)[i] = t.values[i];
    }
  }
  if (found != 7) {
    return InvalidState("initial_state", absl::StrCat("expected ", kMean, ", ", kVar, " and ",
                                                      kBatches, ": the model normalises targets"));
  }
  *this = read;
  return absl::OkStatus();
}

void TargetScale::Track(const Batch& batch) {
  ++batches_;
  const double f = std::max(kMomentum, 1.0 / batches_);
  const int64_t rows = batch.rows();
  for (int64_t k = 0; k < mean_.size(); ++k) {
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < rows; ++i) mean += batch.target(i, k) / static_cast<double>(rows);
    for (int64_t i = 0; i < rows; ++i) squares += std::pow(batch.target(i, k) - mean, 2);
    const double d = mean - mean_[k];
    var_[k] = (1 - f) * (var_[k] + f * d * d) + f * squares / rows;
    mean_[k] += f * d;
  }
}

Eigen::ArrayXd TargetScale::std() const {
  return (var_ + kEps).sqrt();
}

void TargetScale::Normalize(MatrixView targets) const {
  const Eigen::ArrayXd scale = std();
  for (int64_t i = 0; i < targets.rows(); ++i) {
    for (int64_t k = 0; k < targets.cols(); ++k) {
      targets(i, k) = static_cast<float>((targets(i, k) - mean_[k]) / scale[k]);
    }
  }
}

void TargetScale::Denormalize(MatrixView outputs) const {
  const Eigen::ArrayXd scale = std();
  for (int64_t i = 0; i < outputs.rows(); ++i) {
    for (int64_t k = 0; k < outputs.cols(); ++k) {
      outputs(i, k) = static_cast<float>(outputs(i, k) * scale[k] + mean_[k]);
    }
  }
}

}  // namespace lazynorm
