#include "model/experts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "model/loss.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

Rows Zeros(int rows) {
  return {Matrix::Zero(rows, 1), Matrix::Zero(rows, 1), {}, {}};
}

TEST(HedgeTest, BeginsWithEqualWeightsThatAddUpToOne) {
  EXPECT_EQ(Hedge(4).weights(), std::vector<double>(4, 0.25));
}

TEST(HedgeTest, WeighsByTheExponentOfTheDiscountedLoss) {
  Hedge hedge(2);
  const Rows rows = Zeros(2);
  Matrix good(2, 1), bad(2, 1);
  good << 0.5f, 0.1f;
  bad << 1.0f, 1.5f;
  hedge.Observe(0, {}, 0.9, ViewOf(std::as_const(good)), rows.batch());
  hedge.Observe(1, {}, 0.9, ViewOf(std::as_const(bad)), rows.batch());
  hedge.Weigh(0.3);
  const double l0 = 0.9 * 0.25 + 0.01, l1 = 0.9 * 1 + 2.25;
  EXPECT_NEAR(hedge.discounted_losses()[0], l0, 1e-6);
  EXPECT_NEAR(hedge.discounted_losses()[1], l1, 1e-6);
  EXPECT_NEAR(hedge.weights()[0] / hedge.weights()[1], std::exp(-0.3 * (l0 - l1)), 1e-6);
  EXPECT_NEAR(hedge.weights()[0] + hedge.weights()[1], 1, 1e-15);
}

TEST(HedgeTest, OneOutlierCostsNoMoreThanTheCutEvenIfItIsNotANumber) {
  for (float outlier : {1e10f, std::nanf("")}) {
    Hedge hedge(2);
    const Matrix far = Matrix::Constant(1, 1, outlier);
    hedge.Observe(0, {}, 0.95, ViewOf(far), Zeros(1).batch());
    EXPECT_EQ(hedge.discounted_losses()[0], Hedge::kLossCut);
  }
}

TEST(HedgeTest, ARowWithoutWeightIsNotCounted) {
  Hedge hedge(2);
  Rows rows = Zeros(2);
  rows.weights = {0, 1};
  const Matrix out = Matrix::Constant(2, 1, 1.0f);
  hedge.Observe(0, {}, 0.5, ViewOf(out), rows.batch());
  EXPECT_EQ(hedge.discounted_losses()[0], 1);
}

TEST(HedgeTest, ClassesAreScoredByTheLogLoss) {
  Hedge hedge(2);
  Rows rows = Zeros(1);
  rows.y.resize(0, 0);
  rows.labels = {2};
  Matrix z(1, 3);
  z << 0, 0, 0;
  hedge.Observe(0, {.kind = LossKind::kCrossEntropy}, 1, ViewOf(std::as_const(z)), rows.batch());
  EXPECT_NEAR(hedge.discounted_losses()[0], std::log(3.0), 1e-6);
}

TEST(ExpertsTest, ClassesAreAveragedInProbabilities) {
  Matrix a(1, 2), b(1, 2), out(1, 2);
  a << 10, -10;
  b << 0, 0;
  std::vector<double> sum(2, 0.0);
  AddWeighted(LossKind::kCrossEntropy, ViewOf(std::as_const(a)), 0.25, sum.data());
  AddWeighted(LossKind::kCrossEntropy, ViewOf(std::as_const(b)), 0.75, sum.data());
  FromAverage(LossKind::kCrossEntropy, sum.data(), ViewOf(out));
  ASSERT_TRUE(ToProbabilities({.kind = LossKind::kCrossEntropy}, ViewOf(out)).ok());
  EXPECT_NEAR(out(0, 0), 0.25 + 0.75 / 2, 1e-6);
  EXPECT_NEAR(out(0, 1), 0.75 / 2, 1e-6);
}

TEST(ExpertsTest, LogitsOfAnAverageGiveTheAverageBack) {
  Matrix a = Matrix::Constant(1, 1, 3.0f), b = Matrix::Constant(1, 1, -1.0f), out(1, 1);
  std::vector<double> sum(1, 0.0);
  AddWeighted(LossKind::kBceWithLogits, ViewOf(std::as_const(a)), 0.5, sum.data());
  AddWeighted(LossKind::kBceWithLogits, ViewOf(std::as_const(b)), 0.5, sum.data());
  FromAverage(LossKind::kBceWithLogits, sum.data(), ViewOf(out));
  const double p = (1 / (1 + std::exp(-3.0)) + 1 / (1 + std::exp(1.0))) / 2;
  EXPECT_NEAR(1 / (1 + std::exp(-out(0, 0))), p, 1e-6);
}

TEST(HedgeTest, LossesAreATensorThatGivesTheWeightsBack) {
  Hedge hedge(2);
  const Matrix good = Matrix::Zero(1, 1), bad = Matrix::Constant(1, 1, 1.5f);
  hedge.Observe(0, {}, 1, ViewOf(bad), Zeros(1).batch());
  hedge.Observe(1, {}, 1, ViewOf(good), Zeros(1).batch());
  hedge.Weigh(0.3);
  std::vector<StateTensor> tensors;
  hedge.AddTensors(tensors);
  ASSERT_EQ(tensors.size(), 1);
  EXPECT_TRUE(Hedge::Owns(tensors[0].name));
  EXPECT_EQ(tensors[0].values, (std::vector<float>{2.25f, 0}));
  Hedge again(2);
  ASSERT_TRUE(again.SetTensor(tensors[0], 0.3).ok());
  EXPECT_EQ(again.weights(), hedge.weights());
  for (const std::vector<float>& values :
       {std::vector<float>{1}, {1, NAN}, {1, -1}, {1, 2, 3}, {1, INFINITY}}) {
    tensors[0].values = values;
    EXPECT_FALSE(again.SetTensor(tensors[0], 0.3).ok());
  }
  EXPECT_EQ(again.weights(), hedge.weights());
  std::vector<StateTensor> none;
  Hedge(1).AddTensors(none);
  EXPECT_TRUE(none.empty());
}

}  // namespace
}  // namespace lazynorm
