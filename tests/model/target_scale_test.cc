#include "model/target_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

Rows Targets(const std::vector<float>& values) {
  Rows r{Matrix::Zero(values.size(), 1), Matrix(values.size(), 1), {}, {}};
  for (size_t i = 0; i < values.size(); ++i) r.y(i, 0) = values[i];
  return r;
}

TEST(TargetScaleTest, OneRowAtATimeGivesMeanAndVarianceOfAllWhileItWarmsUp) {
  const Matrix y = Normal(60, 1, 1, 300, 20);
  TargetScale scale(1);
  double mean = 0, squares = 0;
  for (int i = 0; i < 60; ++i) {
    scale.Track(Targets({y(i, 0)}).batch());
    mean += y(i, 0) / 60.0;
  }
  for (int i = 0; i < 60; ++i) squares += std::pow(y(i, 0) - mean, 2) / 60;
  EXPECT_NEAR(scale.mean()[0], mean, 1e-9 * mean);
  EXPECT_NEAR(scale.var()[0], squares, 1e-9 * squares);
}

TEST(TargetScaleTest, GoesToTheTargetsUnitsAndBack) {
  TargetScale scale(1);
  scale.Track(Targets({290, 310, 300, 280}).batch());
  Matrix y = Normal(5, 1, 2, 300, 15);
  const Matrix before = y;
  scale.Normalize(ViewOf(y));
  EXPECT_NEAR(y(0, 0), (before(0, 0) - 295) / std::sqrt(125.0), 1e-5);
  scale.Denormalize(ViewOf(y));
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(y(i, 0), before(i, 0), 1e-4);
}

TEST(TargetScaleTest, FollowsTargetsThatMove) {
  TargetScale scale(1);
  for (int i = 0; i < 500; ++i) scale.Track(Targets({0, 1}).batch());
  for (int i = 0; i < 1500; ++i) scale.Track(Targets({100, 102}).batch());
  EXPECT_NEAR(scale.mean()[0], 101, 0.01);
  EXPECT_NEAR(scale.var()[0], 1, 0.01);
}

TEST(TargetScaleTest, AConstantTargetIsPredictedAsItIs) {
  TargetScale scale(1);
  scale.Track(Targets({42, 42}).batch());
  Matrix y = Matrix::Constant(1, 1, 1.0f);
  scale.Denormalize(ViewOf(y));
  EXPECT_NEAR(y(0, 0), 42, 1e-5);
}

TEST(TargetScaleTest, ItsTensorsAreReadBackAndNothingElseIs) {
  TargetScale scale(1), read(1);
  scale.Track(Targets({1, 2, 4}).batch());
  std::vector<StateTensor> tensors;
  scale.AddTensors(tensors);
  ASSERT_TRUE(read.SetTensors(tensors).ok());
  EXPECT_EQ(read.batches(), 1);
  EXPECT_NEAR(read.mean()[0], scale.mean()[0], 1e-6);
  EXPECT_NEAR(read.var()[0], scale.var()[0], 1e-6);

  std::vector<StateTensor> missing(tensors.begin(), tensors.begin() + 2);
  ExpectRefused(read.SetTensors(missing), "INVALID_STATE");
  tensors[2].int64_values[0] = std::numeric_limits<int64_t>::max();
  ExpectRefused(read.SetTensors(tensors), "INVALID_STATE");
  tensors[2].int64_values[0] = 1;
  tensors[1].values[0] = -1;
  ExpectRefused(read.SetTensors(tensors), "INVALID_STATE");
}

}  // namespace
}  // namespace lazynorm
