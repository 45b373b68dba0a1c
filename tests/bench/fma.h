#ifndef LAZYNORM_TESTS_BENCH_FMA_H_
#define LAZYNORM_TESTS_BENCH_FMA_H_

#include "absl/strings/string_view.h"

namespace lazynorm {

// Billions of float32 multiplications and additions a second that one core does at most with the
// instructions of a level of kernels.h, measured now: independent multiply-adds in registers.
double PeakGigaflops(absl::string_view level);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_FMA_H_
