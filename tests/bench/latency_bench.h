#ifndef LAZYNORM_TESTS_BENCH_LATENCY_BENCH_H_
#define LAZYNORM_TESTS_BENCH_LATENCY_BENCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/report.h"
#include "tests/bench/servers.h"

namespace lazynorm {

// The first Predict after more than a second of silence: 150 of them, on five servers.
absl::StatusOr<std::vector<Row>> MeasureAfterSilence(const BenchOptions& options);

// Predict while another model of the server is trained as fast as it goes, and without that.
absl::StatusOr<std::vector<Row>> MeasureBesideTraining(const BenchOptions& options);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_LATENCY_BENCH_H_
