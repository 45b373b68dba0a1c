#ifndef LAZYNORM_TESTS_BENCH_HOSTING_BENCH_H_
#define LAZYNORM_TESTS_BENCH_HOSTING_BENCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/report.h"
#include "tests/bench/servers.h"

namespace lazynorm {

// What a thousand models take, as they were created and after a step each; Predict over one model
// and over all of them, from one connection and from many; training one model and several at once.
absl::StatusOr<std::vector<Row>> MeasureHosting(const BenchOptions& options);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_HOSTING_BENCH_H_
