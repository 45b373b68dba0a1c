#ifndef LAZYNORM_TESTS_BENCH_SOCKET_BENCH_H_
#define LAZYNORM_TESTS_BENCH_SOCKET_BENCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/report.h"

namespace lazynorm {

struct SocketOptions {
  int rounds = 5;
  absl::Duration time = absl::Milliseconds(400);  // of one loop, after its warm-up
  std::string server;                             // the path of lazynormd
  std::string self;                               // the path of this program, for --bare
};

// Predict against two bare services that answer the same messages, and Train. Every round runs
// every loop once, one server right after the other, so that what else the machine does hits all
// alike; what is reported are medians over the rounds.
absl::StatusOr<std::vector<Row>> MeasureOverTheSocket(const SocketOptions& options);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_SOCKET_BENCH_H_
