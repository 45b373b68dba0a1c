#ifndef LAZYNORM_SERVER_HOSTING_PREDICTION_TALLY_H_
#define LAZYNORM_SERVER_HOSTING_PREDICTION_TALLY_H_

#include <algorithm>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"

namespace lazynorm {

// What was predicted with a model since it is hosted here. Thread-safe.
class PredictionTally {
 public:
  struct Totals {
    int64_t rows = 0;
    int64_t predictions = 0;
    absl::Time latest = absl::InfinitePast();
    absl::Duration waiting, computing;  // of all predictions together
    int64_t failures = 0;
    absl::Duration failing;  // of all failures together
  };

  // One request of that many rows came at `begin`, was computed from `compute` on and done at
  // `end`, by the wall clock, which may jump.
  void Predicted(int64_t rows, absl::Time begin, absl::Time compute, absl::Time end) {
    MutexLock lock(&mutex_);
    totals_.rows += rows;
    ++totals_.predictions;
    totals_.latest = end;
    totals_.waiting += std::max(absl::ZeroDuration(), compute - begin);
    totals_.computing += std::max(absl::ZeroDuration(), end - compute);
  }

  // One that came at `begin` was refused at `end`.
  void Failed(absl::Time begin, absl::Time end) {
    MutexLock lock(&mutex_);
    ++totals_.failures;
    totals_.failing += std::max(absl::ZeroDuration(), end - begin);
  }

  Totals totals() const {
    MutexLock lock(&mutex_);
    return totals_;
  }

 private:
  mutable Mutex mutex_;
  Totals totals_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_PREDICTION_TALLY_H_
