#ifndef LAZYNORM_CLIENT_CLI_SCOREBOARD_H_
#define LAZYNORM_CLIENT_CLI_SCOREBOARD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/format.h"
#include "lazynorm/v1/spec.pb.h"

namespace lazynorm {

// What is known of one trained batch. Losses are sums over the rows, each times its weight.
struct ScoredBatch {
  int64_t rows = 0;
  double weight = 0;  // sum of the rows' weights
  double model_loss = 0;
  double baseline_loss = 0;
  bool first_epoch = true;  // later ones have seen the rows before
  std::string date;         // of the last row
};

// The mean errors of a stretch of rows, in the measure of ErrorOf; NaN without rows.
struct Score {
  int64_t rows = 0;  // up to its end, from the beginning of training
  std::string date;  // at its end
  double model = 0;
  double baseline = 0;
};

// Keeps the prequential losses of a training run and those of a baseline beside it.
// Thread-compatible.
class Scoreboard {
 public:
  // `report_every`: rows of a period, 0 for none. `skip_first`: the share of the first epoch's rows
  // that Final leaves out, in [0, 1).
  Scoreboard(v1::LossKind loss, int64_t report_every, double skip_first);

  // Returns the period that ends with this batch, if one does. Periods end with whole batches.
  std::optional<Score> Add(const ScoredBatch& batch);

  int64_t rows() const { return rows_; }
  int64_t steps() const { return static_cast<int64_t>(batches_.size()); }
  // The model's loss over about the latest thousand rows, the newer the heavier.
  double rolling_loss() const;

  // Over the first epoch, less the part that is skipped.
  Score Final() const;
  // Over the rows of all later epochs' last one, given its first row.
  Score Since(int64_t first_row) const;
  // All periods so far.
  const std::vector<Score>& periods() const { return periods_; }
  // The model's error batch by batch.
  std::vector<double> Curve() const;

 private:
  // Over batches that begin at or after `first_row`; those of the first epoch only if asked to.
  Score Over(int64_t first_row, bool first_epoch_only) const;

  const v1::LossKind loss_;
  const int64_t report_every_;
  const double skip_first_;
  std::vector<ScoredBatch> batches_;
  std::vector<Score> periods_;
  int64_t rows_ = 0;
  int64_t first_epoch_rows_ = 0;
  int64_t period_begin_ = 0;  // row
  size_t period_batch_ = 0;   // its first batch
  double rolling_loss_ = 0, rolling_weight_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_SCOREBOARD_H_
