#ifndef LAZYNORM_TESTS_BENCH_SHAPES_H_
#define LAZYNORM_TESTS_BENCH_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lazynorm {

// A network of Linear, batch norm and ReLU for each hidden layer and a Linear behind them, and how
// many rows it learns at a time: Adam, mean squared error.
struct Shape {
  std::string name;
  int in;
  std::vector<int> hidden;
  int out;
  int rows;
};

// Small, medium and large.
inline const std::vector<Shape>& Shapes() {
  static const std::vector<Shape>* const shapes =
      new std::vector<Shape>{{"S 10-64-64-1", 10, {64, 64}, 1, 32},
                             {"M 64-256-256-10", 64, {256, 256}, 10, 128},
                             {"L 512-1024-1024-100", 512, {1024, 1024}, 100, 256}};
  return *shapes;
}

// Multiply-adds of one row through the network.
inline int64_t RowWork(const Shape& shape) {
  int64_t work = 0, width = shape.in;
  for (const int hidden : shape.hidden) {
    work += width * hidden;
    width = hidden;
  }
  return work + width * shape.out;
}

// Multiply-adds that a learning step cannot do without: forward, and backward for the weights and
// for the rows, but not for those that came in.
inline int64_t StepWork(const Shape& shape) {
  return shape.rows * (3 * RowWork(shape) - int64_t{shape.in} * shape.hidden.front());
}

// What lazynorm's step multiplies besides: it predicts the rows before it learns them. The first
// layer's products serve both.
inline int64_t ForecastWork(const Shape& shape) {
  return shape.rows * (RowWork(shape) - int64_t{shape.in} * shape.hidden.front());
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_SHAPES_H_
