#ifndef LAZYNORM_TESTS_BENCH_STREAMS_SYNTHETIC_H_
#define LAZYNORM_TESTS_BENCH_STREAMS_SYNTHETIC_H_

#include "tests/bench/streams/stream.h"

namespace lazynorm {

// SEA concepts (Street & Kim, KDD 2001): x in [0, 10]^3, class x1 + x2 <= theta, a tenth of the
// labels wrong. theta changes abruptly, at each quarter: 8, 9, 7, 9.5.
Stream Sea(int rows);

// A rotating hyperplane (Hulten, Spencer & Domingos, KDD 2001): x in [0, 1]^10, 5 % of the labels
// wrong; half of the weights move 0.002 a row, and each turns round every 100 rows or so.
Stream Hyperplane(int rows);

// Friedman's first function (Annals of Statistics, 1991) with global abrupt drift (Ikonomovska,
// Gama & Dzeroski, 2011): x in [0, 1]^10, at each third the five columns that count are others.
Stream Friedman(int rows);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STREAMS_SYNTHETIC_H_
