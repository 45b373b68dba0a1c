#ifndef LAZYNORM_SERVER_HOSTING_AVERAGE_H_
#define LAZYNORM_SERVER_HOSTING_AVERAGE_H_

#include <cmath>
#include <limits>

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
  static constexpr double kShare = 0.01;

  double sum_ = 0, weight_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_AVERAGE_H_
