#ifndef LAZYNORM_TESTS_BENCH_STOPWATCH_H_
#define LAZYNORM_TESTS_BENCH_STOPWATCH_H_

#include <time.h>

#include <cstdint>

namespace lazynorm {

// User and system time of all threads of this process so far.
inline double ProcessMicros() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// CPU time that one run of `work` takes, in microseconds: the average over at least 30 ms, and at
// least two runs.
template <typename Work>
double MicrosOf(Work work) {
  constexpr double kLeast = 30'000;
  double begin = ProcessMicros();
  work();
  const double first = ProcessMicros() - begin;
  const int64_t runs = first * 2 > kLeast ? 2 : static_cast<int64_t>(kLeast / (first + 0.1)) + 1;
  begin = ProcessMicros();
  for (int64_t i = 0; i < runs; ++i) work();
  return (ProcessMicros() - begin) / static_cast<double>(runs);
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STOPWATCH_H_
