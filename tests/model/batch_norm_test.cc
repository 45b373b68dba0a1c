#include "model/batch_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

// One batch norm and its state, fed batch by batch.
struct Norm {
  BatchNorm layer;
  NetworkState state;
  Matrix y;

  Norm(const BatchNormSpec& spec, int width) : layer(spec) {
    Layout layout;
    layer.Resolve(width, layout);
    state.parameters = Eigen::ArrayXf::Zero(layout.parameters());
    state.statistics = Eigen::ArrayXd::Zero(layout.statistics());
    state.counters.assign(layout.counters(), 0);
    layer.Initialize(Random(1), state);
  }
  const Matrix& Forward(const Matrix& x, Mode mode) {
    NetworkState next = state;
    y.resize(x.rows(), x.cols());
    layer.Forward({mode, Random(1), state, next}, ViewOf(x),
                  MatrixView(y.data(), y.rows(), y.cols()));
    state = next;
    return y;
  }
  double mean(int c) const { return state.statistics[c]; }
  double var(int c) const { return state.statistics[state.statistics.size() / 2 + c]; }
};

struct Moments {
  double mean = 0, squares = 0;
  Moments(const Matrix& x, int c) {
    for (int64_t i = 0; i < x.rows(); ++i) mean += x(i, c);
    mean /= x.rows();
    for (int64_t i = 0; i < x.rows(); ++i) squares += (x(i, c) - mean) * (x(i, c) - mean);
  }
};

TEST(BatchNormTest, StartsAsOneZeroZeroOne) {
  const Norm norm(BatchNormSpec{}, 2);
  EXPECT_EQ(norm.state.parameters[1], 1);
  EXPECT_EQ(norm.state.parameters[2], 0);
  EXPECT_EQ(norm.mean(0), 0);
  EXPECT_EQ(norm.var(0), 1);
  EXPECT_EQ(norm.state.counters[0], 0);
}

TEST(BatchNormTest, NormalisesWithTheBiasedVarianceAndRemembersTheUnbiased) {
  Norm norm(BatchNormSpec{.eps = 0.1, .momentum = 0.25}, 3);
  norm.state.parameters << 2, 3, 4, 5, 6, 7;
  const Matrix x = Normal(5, 3, 1, 3, 2);
  norm.Forward(x, Mode::kTrain);
  for (int c = 0; c < 3; ++c) {
    const Moments m(x, c);
    EXPECT_NEAR(norm.mean(c), 0.25 * m.mean, 1e-14);
    EXPECT_NEAR(norm.var(c), 0.75 + 0.25 * m.squares / 4, 1e-14);
    for (int i = 0; i < 5; ++i) {
      EXPECT_NEAR(norm.y(i, c),
                  (2 + c) * (x(i, c) - m.mean) / std::sqrt(m.squares / 5 + 0.1) + 5 + c, 2e-6);
    }
  }
  EXPECT_EQ(norm.state.counters[0], 1);
}

TEST(BatchNormTest, MomentumIsTheShareOfTheNewBatch) {
  const Matrix x = Normal(8, 1, 1, 5);
  Norm last(BatchNormSpec{.momentum = 1}, 1), never(BatchNormSpec{.momentum = 0}, 1);
  last.Forward(Normal(8, 1, 2), Mode::kTrain);
  last.Forward(x, Mode::kTrain);
  never.Forward(x, Mode::kTrain);
  EXPECT_NEAR(last.mean(0), Moments(x, 0).mean, 1e-14);
  EXPECT_EQ(never.mean(0), 0);
  EXPECT_EQ(never.var(0), 1);
  EXPECT_EQ(never.state.counters[0], 1);
}

TEST(BatchNormTest, CumulativeIsThePlainMeanOfTheBatchesWithNoTraceOfTheStart) {
  Norm norm(BatchNormSpec{.cumulative = true}, 1);
  double mean = 0, var = 0;
  for (int k = 1; k <= 7; ++k) {
    const Matrix x = Normal(2 + k, 1, k, 100, k);
    norm.Forward(x, Mode::kTrain);
    const Moments m(x, 0);
    mean += m.mean;
    var += m.squares / (x.rows() - 1);
    EXPECT_NEAR(norm.mean(0), mean / k, 1e-12);
    EXPECT_NEAR(norm.var(0), var / k, 1e-12);
  }
}

TEST(BatchNormTest, AConstantColumnHoweverLargeIsExactlyZero) {
  Norm norm(BatchNormSpec{}, 3);
  Matrix x(37, 3);
  x.col(0).setConstant(1234567);
  x.col(1).setConstant(0.1f);
  x.col(2) = Normal(37, 1, 1);
  norm.Forward(x, Mode::kTrain);
  EXPECT_TRUE((norm.y.col(0).array() == 0).all());
  EXPECT_TRUE((norm.y.col(1).array() == 0).all());
  EXPECT_GT(norm.y.col(2).array().abs().maxCoeff(), 1);
}

TEST(BatchNormTest, AnEpsAndAVarianceOfZeroGiveZero) {
  Norm norm(BatchNormSpec{.eps = 0, .momentum = 1}, 1);
  const Matrix x = Matrix::Constant(4, 1, 3);
  EXPECT_TRUE((norm.Forward(x, Mode::kTrain).array() == 0).all());
  EXPECT_TRUE((norm.Forward(x.array() + 1, Mode::kEval).array() == 0).all());
}

TEST(BatchNormTest, FrozenAndEvaluatedRowsSeeConstantsAndMoveNothing) {
  for (const Mode mode : {Mode::kFrozen, Mode::kEval}) {
    Norm norm(BatchNormSpec{}, 2);
    norm.Forward(Normal(9, 2, 1, 4), Mode::kTrain);
    const NetworkState before = norm.state;
    const Matrix x = Normal(3, 2, 2);
    const Matrix together = norm.Forward(x, mode);
    const Matrix alone = norm.Forward(x.row(1), mode);
    EXPECT_EQ(together.row(1), alone);
    EXPECT_NEAR(together(0, 0), (x(0, 0) - before.statistics[0]) / std::sqrt(norm.var(0) + 1e-5),
                1e-6);
    EXPECT_TRUE((norm.state.statistics == before.statistics).all());
    EXPECT_EQ(norm.state.counters, before.counters);
  }
}

TEST(BatchNormTest, WithoutTrackingEveryModeUsesTheBatch) {
  Norm norm(BatchNormSpec{.track_running_stats = false}, 2);
  EXPECT_EQ(norm.state.statistics.size(), 0);
  const Matrix x = Normal(6, 2, 1, 7);
  const Matrix trained = norm.Forward(x, Mode::kTrain);
  EXPECT_EQ(norm.Forward(x, Mode::kEval), trained);
  EXPECT_EQ(norm.Forward(x, Mode::kFrozen), trained);
  for (const Mode mode : {Mode::kTrain, Mode::kEval, Mode::kFrozen}) {
    EXPECT_TRUE(norm.layer.UsesBatchStatistics(mode));
    EXPECT_EQ(BatchNorm(BatchNormSpec{}).UsesBatchStatistics(mode), mode == Mode::kTrain);
  }
}

TEST(BatchNormTest, TwoNearRowsStandAtPlusAndMinusOne) {
  Norm norm(BatchNormSpec{.eps = 0}, 1);
  Matrix x(2, 1);
  x << 1000, 1000.0001f;
  norm.Forward(x, Mode::kTrain);
  EXPECT_EQ(norm.y(0, 0), -1);
  EXPECT_EQ(norm.y(1, 0), 1);
}

TEST(BatchNormTest, ShiftIsTheDistanceOfTheBatchMeanInRunningDeviations) {
  Norm norm(BatchNormSpec{.eps = 0, .momentum = 1}, 2);
  norm.Forward(Normal(50, 2, 1), Mode::kTrain);
  EXPECT_EQ(norm.layer.shift(), 0);  // nothing was known before
  const Matrix x = Normal(50, 2, 2, 3);
  double want = 0;
  for (int c = 0; c < 2; ++c) {
    want += std::pow(Moments(x, c).mean - norm.mean(c), 2) / norm.var(c) / 2;
  }
  norm.Forward(x, Mode::kTrain);
  EXPECT_NEAR(norm.layer.shift(), std::sqrt(want), 1e-12);
}

}  // namespace
}  // namespace lazynorm
