#include "client/cli/scoreboard.h"

#include <cmath>

#include "client/cli/baseline.h"

namespace lazynorm {
namespace {

constexpr double kRollingRows = 1000;

// Sums of one stretch.
struct Sums {
  double weight = 0, model = 0, baseline = 0;
  void Add(const ScoredBatch& batch) {
    weight += batch.weight;
    model += batch.model_loss;
    baseline += batch.baseline_loss;
  }
  Score ToScore(v1::LossKind loss) const {
    return {.model = ErrorOf(loss, model / weight), .baseline = ErrorOf(loss, baseline / weight)};
  }
};

}  // namespace

Scoreboard::Scoreboard(v1::LossKind loss, int64_t report_every, double skip_first)
    : loss_(loss), report_every_(report_every), skip_first_(skip_first) {}

std::optional<Score> Scoreboard::Add(const ScoredBatch& batch) {
  batches_.push_back(batch);
  rows_ += batch.rows;
  if (batch.first_epoch) first_epoch_rows_ += batch.rows;
  const double keep = std::exp(-static_cast<double>(batch.rows) / kRollingRows);
  rolling_loss_ = keep * rolling_loss_ + batch.model_loss;
  rolling_weight_ = keep * rolling_weight_ + batch.weight;
  if (report_every_ <= 0 || rows_ / report_every_ == period_begin_ / report_every_) {
    return std::nullopt;
  }
  Sums sums;
  for (; period_batch_ < batches_.size(); ++period_batch_) sums.Add(batches_[period_batch_]);
  period_begin_ = rows_;
  Score score = sums.ToScore(loss_);
  score.rows = rows_;
  score.date = batch.date;
  if (!batch.first_epoch) score.baseline = NAN;
  periods_.push_back(score);
  return score;
}

double Scoreboard::rolling_loss() const {
  return rolling_loss_ / rolling_weight_;
}

Score Scoreboard::Final() const {
  const auto skipped = static_cast<int64_t>(skip_first_ * static_cast<double>(first_epoch_rows_));
  return Over(skipped, /*first_epoch_only=*/true);
}

Score Scoreboard::Since(int64_t first_row) const {
  return Over(first_row, /*first_epoch_only=*/false);
}

Score Scoreboard::Over(int64_t first_row, bool first_epoch_only) const {
  Sums sums;
  int64_t row = 0;
  for (const ScoredBatch& batch : batches_) {
    if (row >= first_row && (batch.first_epoch || !first_epoch_only)) sums.Add(batch);
    row += batch.rows;
  }
  Score score = sums.ToScore(loss_);
  score.rows = rows_;
  return score;
}

std::vector<double> Scoreboard::Curve() const {
  std::vector<double> curve;
  for (const ScoredBatch& batch : batches_) {
    curve.push_back(ErrorOf(loss_, batch.model_loss / batch.weight));
  }
  return curve;
}

}  // namespace lazynorm
