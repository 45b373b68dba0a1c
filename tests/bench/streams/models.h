#ifndef LAZYNORM_TESTS_BENCH_STREAMS_MODELS_H_
#define LAZYNORM_TESTS_BENCH_STREAMS_MODELS_H_

#include <cstdint>
#include <memory>

#include "tests/bench/streams/contestant.h"

namespace lazynorm {

// How a lazynorm model learns: the same MLP 32-16 with batch norms and Adam 0.01 each time.
enum class Way {
  kTorch,             // batch statistics, momentum 0.1, nothing else
  kRunning,           // running statistics, momentum 0.01
  kReplay,            // batch statistics and 64 replayed rows
  kRunningAndReplay,  // both
  kPreset,            // what the command line makes of a model: --preset stream
};

// A model for `stream`, learning from requests of `rows` rows. Where batch statistics need more
// than one row, it learns from every 8 of them together.
std::unique_ptr<Contestant> MakeModel(Way way, const Stream& stream, int rows, uint64_t seed);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STREAMS_MODELS_H_
