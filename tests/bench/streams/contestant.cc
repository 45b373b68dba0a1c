#include "tests/bench/streams/contestant.h"

#include <algorithm>
#include <cmath>

namespace lazynorm {

double Prequential(const Stream& stream, int rows, int64_t first_scored, Contestant& contestant) {
  double sum = 0;
  int64_t scored = 0;
  for (int64_t first = 0; first < stream.rows(); first += rows) {
    const int64_t count = std::min<int64_t>(rows, stream.rows() - first);
    const ConstMatrixView x(stream.x.row(first).data(), count, stream.x.cols());
    const float* y = &stream.y[first];
    const std::vector<float> answers = contestant.Answer(x);
    for (int64_t i = std::max<int64_t>(first_scored - first, 0); i < count; ++i, ++scored) {
      const double error = answers[i] - y[i];
      sum += stream.classes == 0 ? error * error : error == 0;
    }
    contestant.Learn(x, y);
  }
  return stream.classes == 0 ? std::sqrt(sum / scored) : sum / scored;
}

}  // namespace lazynorm
