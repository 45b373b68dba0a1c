#ifndef LAZYNORM_MODEL_EVALUATE_H_
#define LAZYNORM_MODEL_EVALUATE_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "model/batch.h"
#include "model/matrix.h"
#include "model/spec.h"

namespace lazynorm {

// Scores of predictions, weighted by the sample weights. What does not fit the loss, or is not
// defined for the rows seen, is absent.
struct Scores {
  int64_t rows = 0;
  double loss = 0;
  // Regression, each averaged over the outputs (root mean squared error: root of the mean over
  // rows and outputs). r2 = 1 - residual / total sum of squares; absent where a target is constant.
  std::optional<double> mean_absolute_error, root_mean_squared_error, r2;
  // Classification. BCE counts every output, positive above probability 1/2, and its log_loss knows
  // no pos_weight. roc_auc: the chance that a positive row scores above a negative one, ties half
  // (Hanley & McNeil 1982); of one output, or one class against the rest averaged over the classes
  // seen on both sides; absent if there is none, beyond kMostRanked scores, or
  // where a score is NaN.
  std::optional<double> accuracy, log_loss, roc_auc;
};

// Collects predictions and their targets, batch by batch. Thread-compatible.
class Evaluator {
 public:
  // How many scores are kept to be ranked for roc_auc, rows times outputs.
  static constexpr int64_t kMostRanked = int64_t{1} << 22;

  Evaluator(const LossSpec& loss, int out_features);

  // out: [rows, out_features], finite targets that passed CheckTargets.
  void Add(ConstMatrixView out, const Batch& batch);

  Scores Result() const;

 private:
  void AddRegression(ConstMatrixView out, const Batch& batch, int64_t row);
  void AddClasses(ConstMatrixView out, const Batch& batch, int64_t row);
  void AddBinary(ConstMatrixView out, const Batch& batch, int64_t row);
  void Rank(int64_t output, float score, bool positive, double weight);
  std::optional<double> RocAuc() const;

  struct Output {
    double mean = 0, total_squares = 0, residual_squares = 0;  // of the targets
    std::vector<std::pair<float, float>> ranked;  // score, weight: negative for a negative row
  };

  LossSpec loss_;
  std::vector<Output> outputs_;
  int64_t rows_ = 0;
  double weight_ = 0;
  double loss_sum_ = 0, absolute_ = 0, right_ = 0, log_loss_ = 0;  // weighted sums over rows
  int64_t ranked_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_EVALUATE_H_
