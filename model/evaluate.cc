#include "model/evaluate.h"

#include <algorithm>
#include <cmath>

#include "model/loss.h"

namespace lazynorm {
namespace {

// Area under the curve of scores with the sign of their class in the weight; empty if one side is.
std::optional<double> AreaUnderCurve(std::vector<std::pair<float, float>> scores) {
  std::sort(scores.begin(), scores.end());
  double below = 0, positive = 0, area = 0;  // negative weight below, positive weight so far
  for (size_t i = 0; i < scores.size();) {
    double tied_positive = 0, tied_negative = 0;
    const float score = scores[i].first;
    for (; i < scores.size() && scores[i].first == score; ++i) {
      const float w = scores[i].second;
      (w > 0 ? tied_positive : tied_negative) += std::fabs(w);
    }
    area += tied_positive * (below + tied_negative / 2);
    below += tied_negative;
    positive += tied_positive;
  }
  if (below == 0 || positive == 0) return std::nullopt;
  return area / (below * positive);
}

}  // namespace

Evaluator::Evaluator(const LossSpec& loss, int out_features)
    : loss_(loss), outputs_(out_features) {}

void Evaluator::Add(ConstMatrixView out, const Batch& batch) {
  loss_sum_ += LossValue(loss_, out, batch) * batch.total_weight();
  if (IsClassification(loss_.kind)) {
    LossSpec plain = loss_;
    plain.pos_weight = 1;
    log_loss_ += LossValue(plain, out, batch) * batch.total_weight();
  }
  for (int64_t i = 0; i < batch.rows(); ++i) {
    weight_ += batch.weight(i);
    if (batch.weight(i) == 0) continue;
    switch (loss_.kind) {
      case LossKind::kCrossEntropy:
        AddClasses(out, batch, i);
        break;
      case LossKind::kBceWithLogits:
        AddBinary(out, batch, i);
        break;
      default:
        AddRegression(out, batch, i);
    }
  }
  rows_ += batch.rows();
}

// Mean and sum of squares of the targets by West 1979, the weighted form of Welford's update.
void Evaluator::AddRegression(ConstMatrixView out, const Batch& batch, int64_t row) {
  const double w = batch.weight(row);
  for (size_t k = 0; k < outputs_.size(); ++k) {
    const double y = batch.target(row, k);
    const double d = out(row, k) - y;
    absolute_ += w * std::fabs(d) / outputs_.size();
    outputs_[k].residual_squares += w * d * d;
    const double from_mean = y - outputs_[k].mean;
    outputs_[k].mean += from_mean * w / weight_;
    outputs_[k].total_squares += w * from_mean * (y - outputs_[k].mean);
  }
}

void Evaluator::AddClasses(ConstMatrixView out, const Batch& batch, int64_t row) {
  const float* z = out.data() + row * out.cols();
  const int label = batch.labels[row];
  if (std::max_element(z, z + out.cols()) - z == label) right_ += batch.weight(row);
  if (outputs_.size() == 2) return Rank(1, z[1] - z[0], label == 1, batch.weight(row));
  Matrix p = ToEigen(out).row(row);
  (void)ToProbabilities(loss_, ViewOf(p));
  for (size_t k = 0; k < outputs_.size(); ++k) {
    Rank(k, p(0, k), label == static_cast<int>(k), batch.weight(row));
  }
}

void Evaluator::AddBinary(ConstMatrixView out, const Batch& batch, int64_t row) {
  for (size_t k = 0; k < outputs_.size(); ++k) {
    const bool positive = batch.target(row, k) >= 0.5f;
    if ((out(row, k) > 0) == positive) right_ += batch.weight(row) / outputs_.size();
    Rank(k, out(row, k), positive, batch.weight(row));
  }
}

void Evaluator::Rank(int64_t output, float score, bool positive, double weight) {
  if (std::isnan(score)) ranked_ = kMostRanked;  // has no rank, and would break the sort
  if (++ranked_ > kMostRanked) return;
  const float w = static_cast<float>(weight);
  outputs_[output].ranked.emplace_back(score, positive ? w : -w);
}

std::optional<double> Evaluator::RocAuc() const {
  if (ranked_ > kMostRanked) return std::nullopt;
  double sum = 0;
  int count = 0;
  for (const Output& output : outputs_) {
    const std::optional<double> area = AreaUnderCurve(output.ranked);
    if (!area.has_value()) continue;
    sum += *area;
    ++count;
  }
  return count == 0 ? std::nullopt : std::optional<double>(sum / count);
}

Scores Evaluator::Result() const {
  Scores scores;
  scores.rows = rows_;
  scores.loss = loss_sum_ / weight_;
  if (IsClassification(loss_.kind)) {
    scores.accuracy = right_ / weight_;
    scores.log_loss = log_loss_ / weight_;
    scores.roc_auc = RocAuc();
    return scores;
  }
  double residual = 0, r2 = 0;
  bool varies = true;
  for (const Output& output : outputs_) {
    residual += output.residual_squares / weight_ / outputs_.size();
    varies = varies && output.total_squares > 0;
    r2 += (1 - output.residual_squares / output.total_squares) / outputs_.size();
  }
  scores.mean_absolute_error = absolute_ / weight_;
  scores.root_mean_squared_error = std::sqrt(residual);
  if (varies) scores.r2 = r2;
  return scores;
}

}  // namespace lazynorm
