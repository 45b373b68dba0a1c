#include "model/loss.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

double Sign(double d) {
  return d > 0 ? 1 : d < 0 ? -1 : 0;
}

double Logistic(double z) {
  const double e = std::exp(-std::fabs(z));
  return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}

// Loss of one element and its derivative by the output.
struct Element {
  double value, slope;
};

Element Regression(const LossSpec& loss, double d) {
  const double size = std::fabs(d);
  switch (loss.kind) {
    case LossKind::kMse:
      return {d * d, 2 * d};
    case LossKind::kSmoothL1:
      if (size < loss.beta) return {d * d / (2 * loss.beta), d / loss.beta};
      return {size - loss.beta / 2, Sign(d)};
    case LossKind::kHuber:
      if (size <= loss.delta) return {d * d / 2, d};
      return {loss.delta * (size - loss.delta / 2), loss.delta * Sign(d)};
    default:
      return {size, Sign(d)};
  }
}

Element Bce(double z, double y, double pos_weight) {
  const double w = 1 + (pos_weight - 1) * y;
  return {(1 - y) * z + w * (std::log1p(std::exp(-std::fabs(z))) + std::max(-z, 0.0)),
          (1 - y) - w * Logistic(-z)};
}

// Cross entropy of row i; writes softmax - onehot, times `scale`, if gradient is not null.
double CrossEntropyRow(ConstMatrixView out, int64_t i, int label, double scale, float* gradient) {
  const float* z = out.data() + i * out.cols();
  const double top = *std::max_element(z, z + out.cols());
  double sum = 0;
  for (int64_t c = 0; c < out.cols(); ++c) sum += std::exp(z[c] - top);
  for (int64_t c = 0; gradient != nullptr && c < out.cols(); ++c) {
    const double p = std::exp(z[c] - top) / sum;
    gradient[c] = static_cast<float>((p - (c == label ? 1 : 0)) * scale);
  }
  return std::log(sum) - (z[label] - top);
}

double ElementwiseRow(const LossSpec& loss, ConstMatrixView out, int64_t i, const Batch& batch,
                      double scale, float* gradient) {
  double sum = 0;
  for (int64_t k = 0; k < out.cols(); ++k) {
    const double z = out(i, k);
    const double y = batch.target(i, k);
    const Element e = loss.kind == LossKind::kBceWithLogits ? Bce(z, y, loss.pos_weight)
                                                            : Regression(loss, z - y);
    sum += e.value;
    if (gradient != nullptr) gradient[k] = static_cast<float>(e.slope * scale / out.cols());
  }
  return sum / out.cols();
}

double Compute(const LossSpec& loss, ConstMatrixView out, const Batch& batch, float* gradient) {
  const double total = batch.total_weight();
  double sum = 0;
  for (int64_t i = 0; i < out.rows(); ++i) {
    const double w = batch.weight(i) / total;
    float* row = gradient == nullptr ? nullptr : gradient + i * out.cols();
    const double value = loss.kind == LossKind::kCrossEntropy
                             ? CrossEntropyRow(out, i, batch.labels[i], w, row)
                             : ElementwiseRow(loss, out, i, batch, w, row);
    if (w != 0) sum += w * value;  // a row without weight may even be off the scale
  }
  return sum;
}

absl::Status CheckLabels(const Batch& batch, int classes) {
  if (batch.targets.size() > 0) {
    return TargetMismatch("targets", "labels alone", "targets as well");
  }
  if (static_cast<int64_t>(batch.labels.size()) != batch.rows()) {
    return ShapeMismatch("labels", absl::StrCat(batch.rows(), " of them, one a row"),
                         absl::StrCat(batch.labels.size()));
  }
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] < 0 || batch.labels[i] >= classes) {
      return LabelOutOfRange(i, batch.labels[i], classes);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckValues(const LossSpec& loss, const Batch& batch, int out_features) {
  if (batch.targets.rows() != batch.rows() || batch.targets.cols() != out_features) {
    return ShapeMismatch("targets", absl::StrCat(batch.rows(), " x ", out_features),
                         absl::StrCat(batch.targets.rows(), " x ", batch.targets.cols()));
  }
  if (loss.kind != LossKind::kBceWithLogits) return absl::OkStatus();
  for (int64_t i = 0; i < batch.targets.size(); ++i) {
    const float y = batch.targets.data()[i];
    if (y < 0 || y > 1) {
      return TargetMismatch(absl::StrCat("targets.values[", i, "]"), "a probability from 0 to 1",
                            absl::StrCat(y));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWeights(const Batch& batch) {
  if (batch.sample_weights.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(batch.sample_weights.size()) != batch.rows()) {
    return InvalidWeights("sample_weights",
                          absl::StrCat("expected ", batch.rows(), " of them, one a row, got ",
                                       batch.sample_weights.size()));
  }
  for (size_t i = 0; i < batch.sample_weights.size(); ++i) {
    const float w = batch.sample_weights[i];
    if (!(std::isfinite(w) && w >= 0)) {
      return InvalidWeights(absl::StrCat("sample_weights[", i, "]"),
                            absl::StrCat("expected a number of at least 0, got ", w));
    }
  }
  if (batch.total_weight() > 0) return absl::OkStatus();
  return InvalidWeights("sample_weights", "expected a sum above 0, got 0");
}

}  // namespace

double LossValue(const LossSpec& loss, ConstMatrixView out, const Batch& batch) {
  return Compute(loss, out, batch, nullptr);
}

double LossGradient(const LossSpec& loss, ConstMatrixView out, const Batch& batch,
                    MatrixView gradient) {
  return Compute(loss, out, batch, gradient.data());
}

absl::Status CheckTargets(const LossSpec& loss, const Batch& batch, int out_features) {
  RETURN_IF_ERROR(CheckWeights(batch));
  if (loss.kind == LossKind::kCrossEntropy) {
    if (batch.labels.empty()) {
      return TargetMismatch("labels", "a class id a row: the loss is cross entropy", "none");
    }
    return CheckLabels(batch, out_features);
  }
  if (batch.labels.empty()) {
    if (batch.targets.size() > 0) return CheckValues(loss, batch, out_features);
    return TargetMismatch("targets", absl::StrCat(batch.rows(), " x ", out_features), "none");
  }
  if (loss.kind == LossKind::kBceWithLogits && out_features == 1) return CheckLabels(batch, 2);
  return TargetMismatch("labels", "targets instead: this loss takes no labels",
                        absl::StrCat(batch.labels.size(), " labels"));
}

absl::Status ToProbabilities(const LossSpec& loss, MatrixView out) {
  if (!IsClassification(loss.kind)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TARGET_MISMATCH", "output",
                     "expected RAW: a regression loss has no probabilities");
  }
  for (int64_t i = 0; i < out.rows(); ++i) {
    float* z = out.data() + i * out.cols();
    const float top = *std::max_element(z, z + out.cols());
    double sum = 0;
    for (int64_t c = 0; c < out.cols(); ++c) sum += std::exp(static_cast<double>(z[c]) - top);
    for (int64_t c = 0; c < out.cols(); ++c) {
      z[c] = static_cast<float>(loss.kind == LossKind::kCrossEntropy
                                    ? std::exp(static_cast<double>(z[c]) - top) / sum
                                    : Logistic(z[c]));
    }
  }
  return absl::OkStatus();
}

}  // namespace lazynorm
