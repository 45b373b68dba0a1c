#include "model/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

NetworkState Started(Linear& layer, int in, uint64_t seed) {
  Layout layout;
  layer.Resolve(in, layout);
  NetworkState state;
  state.parameters = Eigen::ArrayXf::Zero(layout.parameters());
  layer.Initialize(Random(seed), state);
  return state;
}

TEST(LinearTest, ComputesXTimesWTransposedPlusB) {
  Linear layer(LinearSpec{.out_features = 2});
  NetworkState state = Started(layer, 3, 1);
  state.parameters << 1, 2, 3, 4, 5, 6, 0.5f, -0.5f;  // weight [2, 3], bias [2]
  NetworkState next = state;
  Matrix x(2, 3), y(2, 2), want(2, 2);
  x << 1, 0, -1, 2, 1, 0;
  want << -1.5f, -2.5f, 4.5f, 12.5f;
  layer.Forward({Mode::kTrain, Random(1), state, next}, ViewOf(x), MatrixView(y.data(), 2, 2));
  EXPECT_EQ(y, want);
}

TEST(LinearTest, StartsUniformWithinOneOverTheRootOfItsWidth) {
  for (const int in : {1, 16, 100}) {
    Linear layer(LinearSpec{.out_features = 500});
    const NetworkState state = Started(layer, in, 3);
    const double bound = 1 / std::sqrt(in);
    const auto weight = state.parameters.head(500 * in).cast<double>();
    const auto bias = state.parameters.tail(500).cast<double>();
    for (const double most : {weight.abs().maxCoeff(), bias.abs().maxCoeff()}) {
      EXPECT_LE(most, bound * (1 + 1e-7));
      EXPECT_GT(most, 0.97 * bound);
    }
    EXPECT_NEAR(weight.square().mean(), bound * bound / 3, 0.1 * bound * bound);
    EXPECT_NEAR(bias.mean(), 0, 0.15 * bound);
  }
}

TEST(LinearTest, InitialValuesArePinned) {
  Linear layer(LinearSpec{.out_features = 2});
  const NetworkState state = Started(layer, 4, 42);
  const Random weight = Random(42).Stream(0), bias = Random(42).Stream(1);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(state.parameters[i], weight.Uniform(i) - 0.5f);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(state.parameters[8 + i], bias.Uniform(i) - 0.5f);
}

TEST(LinearTest, WithoutBiasThereIsNone) {
  Linear layer(LinearSpec{.out_features = 3, .bias = false});
  EXPECT_EQ(Started(layer, 4, 1).parameters.size(), 12);
  EXPECT_EQ(layer.Bias().size, 0);
}

}  // namespace
}  // namespace lazynorm
