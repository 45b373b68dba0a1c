#ifndef LAZYNORM_TESTS_BENCH_COMPUTE_BENCH_H_
#define LAZYNORM_TESTS_BENCH_COMPUTE_BENCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/report.h"
#include "tests/bench/torch_peer.h"

namespace lazynorm {

// Learning steps and predictions of Shapes() in this process, one thread, in CPU time, on each
// level of the kernels that the machine has, beside what the machine can multiply and, unless
// `torch` is null, beside libtorch; every round measures all of them one after another. Leaves the
// best level chosen.
absl::StatusOr<std::vector<Row>> MeasureCompute(int rounds, TorchPeer* torch);

// How a learning step and a prediction grow with rows, width and depth, on the best level.
absl::StatusOr<std::vector<Row>> MeasureGrowth(int rounds);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_COMPUTE_BENCH_H_
