#ifndef LAZYNORM_TESTS_BENCH_STEP_BENCH_H_
#define LAZYNORM_TESTS_BENCH_STEP_BENCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/report.h"

namespace lazynorm {

// One learning step of Learner::Apply (10-64-64-1, 32 rows, Adam) in this process, in CPU time of
// this thread, for each level of the kernels that the machine has. Leaves the best level chosen.
absl::StatusOr<std::vector<Row>> MeasureStep(int rounds);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STEP_BENCH_H_
