#ifndef LAZYNORM_TESTS_BENCH_STREAMS_COMPARISON_H_
#define LAZYNORM_TESTS_BENCH_STREAMS_COMPARISON_H_

#include <string>
#include <vector>

#include "tests/bench/streams/stream.h"

namespace lazynorm {

enum class Order { kAsTheyCame, kShuffled };

// What is compared: models that learn in five ways, then baselines.
std::vector<std::string> ColumnNames();

// The score of each column (see Prequential) with `rows` rows a request, the mean over seeds.
std::vector<double> Compare(const Stream& stream, Order order, int rows, int seeds, int threads);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STREAMS_COMPARISON_H_
