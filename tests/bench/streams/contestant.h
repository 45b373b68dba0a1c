#ifndef LAZYNORM_TESTS_BENCH_STREAMS_CONTESTANT_H_
#define LAZYNORM_TESTS_BENCH_STREAMS_CONTESTANT_H_

#include <cstdint>
#include <vector>

#include "model/matrix.h"
#include "tests/bench/streams/stream.h"

namespace lazynorm {

// Whoever predicts a stream and learns from it. Thread-compatible.
class Contestant {
 public:
  virtual ~Contestant() = default;

  // One answer a row: the target, or the number of the class. What it likes before it knows any.
  virtual std::vector<float> Answer(ConstMatrixView x) = 0;
  // y: as many as x has rows.
  virtual void Learn(ConstMatrixView x, const float* y) = 0;
};

// Predicts each request of `rows` rows before learning from it (test then train; Gama, Sebastiao &
// Rodrigues 2013): the root mean squared error, or accuracy, of all rows from `first_scored` on.
double Prequential(const Stream& stream, int rows, int64_t first_scored, Contestant& contestant);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STREAMS_CONTESTANT_H_
