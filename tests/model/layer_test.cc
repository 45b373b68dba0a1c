// One gradient check for all layers, in all modes.
#include "model/layer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/model/testing.h"
#include "tests/support/gradient_check.h"

namespace lazynorm {
namespace {

// Normal numbers without those near 0, where some activations have a kink.
Matrix AwayFromZero(int64_t rows, int64_t columns, uint64_t seed) {
  Matrix x = Normal(rows, columns, seed);
  for (int64_t i = 0; i < x.size(); ++i) x.data()[i] += x.data()[i] < 0 ? -0.1f : 0.1f;
  return x;
}

class LayerGradientTest : public testing::TestWithParam<Mode> {};

TEST_P(LayerGradientTest, OfLinearWithAndWithoutBias) {
  for (const bool bias : {true, false}) {
    for (const int out : {1, 3, 20}) {
      GradientCheck(LinearSpec{.out_features = out, .bias = bias}, GetParam(), Normal(7, 5, 1))
          .Run();
    }
  }
}

// Statistics and parameters as they are in the middle of learning.
void Age(NetworkState& state) {
  for (int64_t i = 0; i < state.parameters.size(); ++i) {
    state.parameters[i] += 0.3f + 0.1f * static_cast<float>(i);
  }
  for (int64_t i = 0; i < state.statistics.size(); ++i) state.statistics[i] += 0.2 + 0.1 * i;
}

TEST_P(LayerGradientTest, OfBatchNormAffineOrNotTrackedOrNot) {
  for (const bool affine : {true, false}) {
    for (const bool track : {true, false}) {
      for (const double eps : {1e-5, 0.5}) {
        GradientCheck check(
            BatchNormSpec{.eps = eps, .affine = affine, .track_running_stats = track}, GetParam(),
            Normal(9, 5, 2, 1, 2));
        Age(check.state());
        check.Run();
      }
    }
  }
}

TEST(RunningGradientTest, OfBatchNormWithRunningStatisticsWhereTheyStandStill) {
  for (const Mode mode : {Mode::kFrozen, Mode::kEval}) {
    GradientCheck check(BatchNormSpec{.training_statistics = TrainingStatistics::kRunning}, mode,
                        Normal(9, 5, 2, 1, 2));
    Age(check.state());
    check.Run();
  }
}

TEST_P(LayerGradientTest, OfBatchNormOverTwoRows) {
  Matrix x(2, 3);
  x << -1, 2, 0.5f, 1.5f, -1, 3;
  GradientCheck check(BatchNormSpec{.eps = 0.1}, GetParam(), x);
  Age(check.state());
  check.Run();
}

TEST_P(LayerGradientTest, OfEveryActivation) {
  for (int kind = 0; kind <= static_cast<int>(ActivationKind::kSoftplus); ++kind) {
    SCOPED_TRACE(kind);
    GradientCheck(ActivationSpec{.kind = static_cast<ActivationKind>(kind), .negative_slope = 0.2},
                  GetParam(), AwayFromZero(6, 9, 3))
        .Run();
  }
}

TEST_P(LayerGradientTest, OfDropout) {
  GradientCheck(DropoutSpec{.p = 0.4}, GetParam(), Normal(6, 9, 4)).Run();
}

std::string ModeName(const testing::TestParamInfo<Mode>& info) {
  return info.param == Mode::kTrain ? "Train" : info.param == Mode::kFrozen ? "Frozen" : "Eval";
}

INSTANTIATE_TEST_SUITE_P(Modes, LayerGradientTest,
                         testing::Values(Mode::kTrain, Mode::kFrozen, Mode::kEval), ModeName);

TEST(LayoutTest, PlacesFollowEachOtherInTheOrderOfTheStateDict) {
  Layout layout;
  layout.BeginLayer(2);
  EXPECT_EQ(layout.AddParameter("weight", {3, 4}), 0);
  EXPECT_EQ(layout.AddParameter("bias", {3}), 12);
  EXPECT_EQ(layout.AddStatistic("running_mean", 3), 0);
  EXPECT_EQ(layout.AddCounter("num_batches_tracked"), 0);
  layout.BeginLayer(3);
  EXPECT_EQ(layout.AddCounter("num_batches_tracked"), 1);
  EXPECT_EQ(layout.parameters(), 15);
  EXPECT_EQ(layout.statistics(), 3);
  EXPECT_EQ(layout.counters(), 2);
  ASSERT_EQ(layout.tensors().size(), 5u);
  EXPECT_EQ(layout.tensors()[0].name, "2.weight");
  EXPECT_EQ(layout.tensors()[4].name, "3.num_batches_tracked");
  EXPECT_TRUE(layout.tensors()[4].shape.empty());
}

}  // namespace
}  // namespace lazynorm
