#ifndef LAZYNORM_TESTS_BENCH_STREAMS_STREAM_H_
#define LAZYNORM_TESTS_BENCH_STREAMS_STREAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/matrix.h"

namespace lazynorm {

// Labelled rows in the order in which they came. Plain value.
struct Stream {
  std::string name;
  int classes = 0;       // 0: regression
  Matrix x;              // [rows, features]
  std::vector<float> y;  // the target, or the number of the class

  int64_t rows() const { return x.rows(); }
};

// Reads a CSV file of numbers with a header; the last column is the target. Whole targets of 2 to
// 20 kinds that begin with 0 and leave out none are classes. The file's name is the stream's.
absl::StatusOr<Stream> ReadStream(const std::string& path);

// The same rows in another order.
Stream Shuffled(const Stream& stream, uint64_t seed);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STREAMS_STREAM_H_
