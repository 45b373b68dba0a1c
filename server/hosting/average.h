#ifndef LAZYNORM_SERVER_HOSTING_AVERAGE_H_
#define LAZYNORM_SERVER_HOSTING_AVERAGE_H_

#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include "model/learner.h"

namespace lazynorm {

// An exponentially weighted average of which the latest hundred values are most; it begins with the
// first value in full. What is not finite is passed over, for it would stay for good.
// Thread-compatible.
class Average {
 public:
  void Add(double value) {
    if (!std::isfinite(value)) return;
    // Sum and weight shrink alike.
    sum_ += kShare * (value - sum_);
    weight_ += kShare * (1 - weight_);
  }
  // NaN before the first.
  double value() const {
    return weight_ > 0 ? sum_ / weight_ : std::numeric_limits<double>::quiet_NaN();
  }

 private:
  friend class Averages;
  static constexpr double kShare = 0.01;

  double sum_ = 0, weight_ = 0;
};

// What a host averages of a model's steps. A value; thread-compatible.
class Averages {
 public:
  Averages() = default;
  // From what Save gave, or anything else: then they begin anew.
  explicit Averages(const std::vector<double>& saved) {
    if (saved.size() != 2 * std::size(all_)) return;
    for (size_t i = 0; i < std::size(all_); ++i) {
      all_[i].sum_ = saved[2 * i];
      all_[i].weight_ = saved[2 * i + 1];
    }
  }
  std::vector<double> Save() const {
    std::vector<double> saved;
    for (const Average& average : all_) {
      saved.push_back(average.sum_);
      saved.push_back(average.weight_);
    }
    return saved;
  }

  void Add(const StepResult& result, const StepDiagnostics& diagnostics) {
    all_[0].Add(result.loss);
    all_[1].Add(result.prequential_loss);
    all_[2].Add(diagnostics.loss - result.prequential_loss);
  }
  double train_loss() const { return all_[0].value(); }
  double prequential_loss() const { return all_[1].value(); }
  // Train less prequential loss, in the target's units.
  double loss_gap() const { return all_[2].value(); }

 private:
  Average all_[3];
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_AVERAGE_H_
