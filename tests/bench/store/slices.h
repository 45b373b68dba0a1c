#ifndef LAZYNORM_TESTS_BENCH_STORE_SLICES_H_
#define LAZYNORM_TESTS_BENCH_STORE_SLICES_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/bench/report.h"

namespace lazynorm {

// What some callers saw who each waited for an answer before they went on.
struct Slice {
  double per_second = 0;
  double p50_us = 0, p99_us = 0, most_us = 0;
};

// Runs `call(caller)` on a thread for each caller, again and again until over().
Slice RunSlice(int callers, const std::function<void(int caller)>& call,
               const std::function<bool()>& over);
Slice RunSlice(int callers, const std::function<void(int caller)>& call, absl::Duration time);

// Slices of two, taken in turn. Ratios are within a round: the first to the second.
class Comparison {
 public:
  void Add(const Slice& first, const Slice& second);
  // Two rows under one head.
  void AddTo(const std::string& what, const std::string& first, const std::string& second,
             std::vector<Row>* rows) const;

 private:
  std::vector<Slice> slices_[2];
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STORE_SLICES_H_
