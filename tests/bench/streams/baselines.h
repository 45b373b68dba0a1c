#ifndef LAZYNORM_TESTS_BENCH_STREAMS_BASELINES_H_
#define LAZYNORM_TESTS_BENCH_STREAMS_BASELINES_H_

#include <memory>

#include "tests/bench/streams/contestant.h"

namespace lazynorm {

// Everything is as the last label was.
std::unique_ptr<Contestant> MakePersistence();

// Everything is the mean of all targets so far, or their commonest class.
std::unique_ptr<Contestant> MakeMeanOrMajority(const Stream& stream);

// Regression: recursive least squares without forgetting (Plackett 1950). Classes: logistic
// regression by stochastic gradient descent (rate 0.05) on features standardised so far.
std::unique_ptr<Contestant> MakeLinear(const Stream& stream);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STREAMS_BASELINES_H_
