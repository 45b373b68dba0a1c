#ifndef LAZYNORM_TESTS_BENCH_SOCKET_BENCH_H_
#define LAZYNORM_TESTS_BENCH_SOCKET_BENCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/report.h"
#include "tests/bench/servers.h"

namespace lazynorm {

// Predict against two bare services that answer the same messages, closed and open loops; streams
// against unary calls; Train.
absl::StatusOr<std::vector<Row>> MeasureOverTheSocket(const BenchOptions& options);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_SOCKET_BENCH_H_
