#include "model/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/network.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

// A network in the middle of its life.
struct Aged {
  Network network;
  NetworkState state;

  Aged(const std::vector<LayerSpec>& layers, int in, uint64_t seed)
      : network(layers, in), state(network.Start(Random(seed))) {
    const Random random(seed);
    for (int i = 0; i < state.parameters.size(); ++i) {
      state.parameters[i] += 0.5f * (random.Uniform(i) - 0.5f);
    }
    for (int i = 0; i < state.statistics.size(); ++i) {
      state.statistics[i] += 0.7 * random.Uniform(1000000 + i);
    }
  }
  Matrix Forward(const Matrix& x) {
    NetworkState next = state;
    const ConstMatrixView y = network.Forward({Mode::kEval, Random(1), state, next}, ViewOf(x));
    return ToEigen(y);
  }
  Plan MakePlan() const {
    PlanBuilder builder(network.in_features(), 17, LossSpec());
    network.AddTo(builder, state);
    return std::move(builder).Build();
  }
};

Matrix Predict(const Plan& plan, const Matrix& x) {
  const auto y = plan.Predict(ViewOf(x));
  EXPECT_TRUE(y.ok()) << y.status();
  return *y;
}

LayerSpec RandomLayer(const Random& random, int i) {
  switch (random.Bits(3 * i) % 6) {
    case 0:
    case 1:
      return LinearSpec{.out_features = static_cast<int>(1 + random.Bits(3 * i + 1) % 20),
                        .bias = random.Bits(3 * i + 2) % 3 > 0};
    case 2:
    case 3:
      return BatchNormSpec{.eps = 0.01,
                           .affine = random.Bits(3 * i + 1) % 3 > 0,
                           .track_running_stats = random.Bits(3 * i + 2) % 5 > 0};
    case 4:
      return ActivationSpec{.kind = static_cast<ActivationKind>(random.Bits(3 * i + 1) % 10)};
    default:
      return DropoutSpec{.p = 0.5};
  }
}

void ExpectFoldsLike(const std::vector<LayerSpec>& layers, int in, uint64_t seed) {
  Aged aged(layers, in, seed);
  const Matrix x = Normal(9, in, seed + 1);
  const Matrix want = aged.Forward(x), got = Predict(aged.MakePlan(), x);
  ASSERT_EQ(got.cols(), want.cols());
  const float largest = std::max(1.0f, want.array().abs().maxCoeff());
  EXPECT_LT((got - want).array().abs().maxCoeff(), 5e-5f * largest) << "seed " << seed;
}

TEST(PlanTest, RandomNetworksPredictAsTheirLayersDo) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Random random(seed);
    std::vector<LayerSpec> layers;
    const int count = 1 + static_cast<int>(random.Bits(999) % 8);
    for (int i = 0; i < count; ++i) layers.push_back(RandomLayer(random, i));
    ExpectFoldsLike(layers, 1 + static_cast<int>(random.Bits(998) % 12), seed);
  }
}

TEST(PlanTest, BatchNormAnywhereFoldsRight) {
  const LayerSpec linear = LinearSpec{.out_features = 7}, norm = BatchNormSpec{};
  const LayerSpec relu = ActivationSpec{}, drop = DropoutSpec{};
  const LayerSpec identity = ActivationSpec{.kind = ActivationKind::kIdentity};
  const std::vector<std::vector<LayerSpec>> networks = {
      {norm},
      {norm, norm},
      {norm, linear},
      {linear, norm},
      {norm, norm, linear, norm, norm},
      {linear, norm, linear, norm},
      {norm, relu, norm, linear},
      {norm, relu, norm},
      {norm, identity, linear, identity, drop, norm},
      {identity},
      {drop},
      {identity, drop, relu},
      {linear, linear},
      {relu, linear},
      {BatchNormSpec{.track_running_stats = false}, norm, linear},
      {linear, BatchNormSpec{.affine = false, .track_running_stats = false}, norm}};
  for (size_t i = 0; i < networks.size(); ++i) ExpectFoldsLike(networks[i], 5, i);
}

TEST(PlanTest, ARowIsPredictedTheSameBitForBitInAnyBatch) {
  Aged aged(Expand({.hidden = {70, 33}, .out_features = 3, .normalize_input = true}), 13, 1);
  const Plan plan = aged.MakePlan();
  const Matrix x = Normal(300, 13, 2);
  const Matrix all = Predict(plan, x);
  for (int64_t size : {1, 2, 5, 127, 128, 129, 299}) {
    for (int64_t begin : {int64_t{0}, 300 - size}) {
      EXPECT_EQ(Predict(plan, x.middleRows(begin, size)), all.middleRows(begin, size)) << size;
    }
  }
  EXPECT_EQ(Predict(plan, x.colwise().reverse()), all.colwise().reverse());
}

TEST(PlanTest, AColumnFarFromZeroKeepsItsDigits) {
  Aged aged({BatchNormSpec{}, LinearSpec{.out_features = 2}}, 2, 1);
  aged.state.statistics << 736000.25, 0, 1, 1;  // means, variances
  const double scale = aged.state.parameters[0] / std::sqrt(1 + 1e-5);
  Matrix x(3, 2);
  x << 735999, 0, 736000.5f, 0, 736001, 0;
  const Matrix y = Predict(aged.MakePlan(), x);
  const float* p = aged.state.parameters.data();  // weight, bias, weight [2, 2], bias
  for (int i = 0; i < 3; ++i) {
    const double first = scale * (x(i, 0) - 736000.25) + p[2];
    const double second = p[3];
    for (int k = 0; k < 2; ++k) {
      EXPECT_NEAR(y(i, k), p[4 + 2 * k] * first + p[5 + 2 * k] * second + p[8 + k], 1e-6);
    }
  }
}

TEST(PlanTest, RefusesWhatItCannotPredict) {
  Aged tracked({BatchNormSpec{}, LinearSpec{}}, 4, 1);
  const Plan plan = tracked.MakePlan();
  EXPECT_TRUE(plan.Predict(ViewOf(Normal(1, 4, 1))).ok());
  ExpectRefused(plan.Predict(ViewOf(Matrix(0, 4))).status(), "EMPTY_BATCH", "features");
  ExpectRefused(plan.Predict(ViewOf(Normal(2, 5, 1))).status(), "WIDTH_MISMATCH", "features");

  Aged untracked({LinearSpec{}, BatchNormSpec{.track_running_stats = false}}, 4, 1);
  const absl::Status status = untracked.MakePlan().Predict(ViewOf(Normal(1, 4, 1))).status();
  ExpectRefused(status, "TOO_FEW_ROWS", "features");
  EXPECT_NE(status.message().find("layer 1"), absl::string_view::npos);
}

TEST(PlanTest, SaysWhatItIs) {
  Aged aged({LinearSpec{.out_features = 6}, ActivationSpec{}, LinearSpec{.out_features = 2}}, 4, 1);
  const Plan plan = aged.MakePlan();
  EXPECT_EQ(plan.step(), 17);
  EXPECT_EQ(plan.in_features(), 4);
  EXPECT_EQ(plan.out_features(), 2);
  EXPECT_GE(plan.work_per_row(), 4 * 6 + 6 * 2);
}

TEST(PlanTest, OutlivesTheNetworkItCameFromUnchanged) {
  Matrix before;
  const Matrix x = Normal(3, 4, 1);
  const Plan plan = [&] {
    Aged aged({BatchNormSpec{}, LinearSpec{}}, 4, 1);
    Plan made = aged.MakePlan();
    before = Predict(made, x);
    aged.state.parameters.setZero();
    return made;
  }();
  EXPECT_EQ(Predict(plan, x), before);
}

}  // namespace
}  // namespace lazynorm
