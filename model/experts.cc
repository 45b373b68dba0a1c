#include "model/experts.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

constexpr char kLosses[] = "experts.discounted_loss";

// Keeps the logarithm of an average finite.
constexpr double kLeastProbability = 1e-30;

double Logistic(double z) {
  const double e = std::exp(-std::fabs(z));
  return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}

double LogSumExp(const float* z, int64_t n) {
  const double top = *std::max_element(z, z + n);
  double sum = 0;
  for (int64_t c = 0; c < n; ++c) sum += std::exp(z[c] - top);
  return top + std::log(sum);
}

double RowLoss(LossKind kind, ConstMatrixView out, int64_t row, const Batch& batch) {
  const float* z = out.row(row);
  if (kind == LossKind::kCrossEntropy) return LogSumExp(z, out.cols()) - z[batch.labels[row]];
  double sum = 0;
  for (int64_t k = 0; k < out.cols(); ++k) {
    const double y = batch.target(row, k);
    const double d = z[k] - y;
    sum += kind == LossKind::kBceWithLogits
               ? std::log1p(std::exp(-std::fabs(z[k]))) + std::max(z[k], 0.0f) - y * z[k]
               : d * d;
  }
  return sum / out.cols();
}

}  // namespace

void Hedge::Observe(int expert, const LossSpec& loss, double discount, ConstMatrixView out,
                    const Batch& batch) {
  if (losses_.size() == 1) return;
  for (int64_t i = 0; i < out.rows(); ++i) {
    if (batch.weight(i) == 0) continue;
    const double value = RowLoss(loss.kind, out, i, batch);
    losses_[expert] = discount * losses_[expert] + (value < kLossCut ? value : kLossCut);
  }
}

void Hedge::Weigh(double rate) {
  const double best = *std::min_element(losses_.begin(), losses_.end());
  double sum = 0;
  for (size_t k = 0; k < losses_.size(); ++k) {
    weights_[k] = std::exp(-rate * (losses_[k] - best));
    sum += weights_[k];
  }
  for (double& weight : weights_) weight /= sum;
}

bool Hedge::Owns(absl::string_view name) {
  return name == kLosses;
}

void Hedge::AddTensors(std::vector<StateTensor>& tensors) const {
  if (losses_.size() == 1) return;
  tensors.push_back({kLosses,
                     {static_cast<int64_t>(losses_.size())},
                     std::vector<float>(losses_.begin(), losses_.end()),
                     {}});
}

absl::Status Hedge::SetTensor(const StateTensor& tensor, double rate) {
  const bool good = std::all_of(tensor.values.begin(), tensor.values.end(),
                                [](float loss) { return std::isfinite(loss) && loss >= 0; });
  if (!good || tensor.values.size() != losses_.size()) {
    return InvalidState("initial_state", absl::StrCat("expected ", losses_.size(),
                                                      " finite numbers from 0 on in ", kLosses));
  }
  losses_.assign(tensor.values.begin(), tensor.values.end());
  Weigh(rate);
  return absl::OkStatus();
}

void AddWeighted(LossKind kind, ConstMatrixView out, double weight, double* sum) {
  for (int64_t i = 0; i < out.rows(); ++i, sum += out.cols()) {
    const float* z = out.row(i);
    const double norm = kind == LossKind::kCrossEntropy ? LogSumExp(z, out.cols()) : 0;
    for (int64_t k = 0; k < out.cols(); ++k) {
      const double value = kind == LossKind::kCrossEntropy    ? std::exp(z[k] - norm)
                           : kind == LossKind::kBceWithLogits ? Logistic(z[k])
                                                              : z[k];
      sum[k] += weight * value;
    }
  }
}

void FromAverage(LossKind kind, const double* sum, MatrixView out) {
  for (int64_t i = 0; i < out.size(); ++i) {
    double value = sum[i];
    if (kind == LossKind::kCrossEntropy) value = std::log(std::max(value, kLeastProbability));
    if (kind == LossKind::kBceWithLogits) {
      value = std::log(std::max(value, kLeastProbability) / std::max(1 - value, kLeastProbability));
    }
    out.data()[i] = static_cast<float>(value);
  }
}

}  // namespace lazynorm
