#include "tests/bench/streams/synthetic.h"

#include <cmath>
#include <numbers>
#include <random>

namespace lazynorm {
namespace {

// Rows of uniform numbers from 0 to `most`; their targets are the caller's to fill in.
Stream Uniform(const char* name, int rows, int columns, float most, std::mt19937& random) {
  Stream stream{.name = name, .x = Matrix(rows, columns), .y = std::vector<float>(rows)};
  std::uniform_real_distribution<float> uniform(0, most);
  for (float& value : stream.x.reshaped<Eigen::RowMajor>()) value = uniform(random);
  return stream;
}

}  // namespace

Stream Sea(int rows) {
  constexpr float kTheta[] = {8, 9, 7, 9.5};
  std::mt19937 random(7);
  Stream stream = Uniform("SEA (abrupt)", rows, 3, 10, random);
  stream.classes = 2;
  std::bernoulli_distribution wrong(0.1);
  for (int i = 0; i < rows; ++i) {
    const bool label = stream.x(i, 0) + stream.x(i, 1) <= kTheta[int64_t{i} * 4 / rows];
    stream.y[i] = label != wrong(random);
  }
  return stream;
}

Stream Hyperplane(int rows) {
  constexpr int kColumns = 10;
  std::mt19937 random(11);
  Stream stream = Uniform("hyperplane (gradual)", rows, kColumns, 1, random);
  stream.classes = 2;
  std::bernoulli_distribution wrong(0.05), turns(0.01);
  Eigen::VectorXf weights(kColumns), moves(kColumns);
  std::uniform_real_distribution<float> uniform(0, 1);
  for (float& weight : weights) weight = uniform(random);
  moves << 0.002f, 0.002f, 0.002f, 0.002f, 0.002f, 0, 0, 0, 0, 0;
  for (int i = 0; i < rows; ++i) {
    const bool label = stream.x.row(i).dot(weights) >= weights.sum() / 2;
    stream.y[i] = label != wrong(random);
    weights += moves;
    for (float& move : moves) move = turns(random) ? -move : move;
  }
  return stream;
}

Stream Friedman(int rows) {
  constexpr int kRoles[3][5] = {{0, 1, 2, 3, 4}, {3, 5, 0, 1, 4}, {2, 9, 8, 1, 0}};
  std::mt19937 random(13);
  Stream stream = Uniform("Friedman (abrupt)", rows, 10, 1, random);
  std::normal_distribution<float> noise(0, 1);
  for (int i = 0; i < rows; ++i) {
    const int* role = kRoles[int64_t{i} * 3 / rows];
    const auto x = [&](int k) { return stream.x(i, role[k]); };
    stream.y[i] = 10 * std::sin(std::numbers::pi_v<float> * x(0) * x(1)) +
                  20 * (x(2) - 0.5f) * (x(2) - 0.5f) + 10 * x(3) + 5 * x(4) + noise(random);
  }
  return stream;
}

}  // namespace lazynorm
