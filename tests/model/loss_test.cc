#include "model/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/model/testing.h"
#include "tests/support/gradient_check.h"

namespace lazynorm {
namespace {

double Logistic(double z) {
  return 1 / (1 + std::exp(-z));
}

// The loss of one output against one target.
double Of(const LossSpec& loss, float out, float target) {
  const Matrix o = Matrix::Constant(1, 1, out);
  const Rows rows{Matrix(1, 1), Matrix::Constant(1, 1, target), {}, {}};
  return LossValue(loss, ViewOf(o), rows.batch());
}

TEST(LossTest, RegressionFormulae) {
  EXPECT_EQ(Of({.kind = LossKind::kMse}, 3, 1), 4);
  EXPECT_EQ(Of({.kind = LossKind::kL1}, 3, 4.5f), 1.5);
  EXPECT_EQ(Of({.kind = LossKind::kSmoothL1, .beta = 2}, 1, 0), 0.25);
  EXPECT_EQ(Of({.kind = LossKind::kSmoothL1, .beta = 2}, 2, 0), 1);
  EXPECT_EQ(Of({.kind = LossKind::kSmoothL1, .beta = 2}, -5, 0), 4);
  EXPECT_EQ(Of({.kind = LossKind::kSmoothL1, .beta = 0}, -5, 0), 5);
  EXPECT_EQ(Of({.kind = LossKind::kHuber, .delta = 2}, 1, 0), 0.5);
  EXPECT_EQ(Of({.kind = LossKind::kHuber, .delta = 2}, 2, 0), 2);
  EXPECT_EQ(Of({.kind = LossKind::kHuber, .delta = 2}, -5, 0), 8);
}

TEST(LossTest, HuberIsDeltaTimesSmoothL1) {
  for (const float d : {-5.0f, -0.3f, 0.0f, 0.7f, 3.0f}) {
    EXPECT_NEAR(Of({.kind = LossKind::kHuber, .delta = 0.7}, d, 0),
                0.7 * Of({.kind = LossKind::kSmoothL1, .beta = 0.7}, d, 0), 1e-14);
  }
}

TEST(LossTest, BceFormulaWithSoftTargetsAndPositiveWeight) {
  for (const float z : {-3.0f, 0.0f, 2.0f}) {
    for (const float y : {0.0f, 0.25f, 1.0f}) {
      for (const double p : {1.0, 2.5}) {
        const double want = -(p * y * std::log(Logistic(z)) + (1 - y) * std::log(Logistic(-z)));
        EXPECT_NEAR(Of({.kind = LossKind::kBceWithLogits, .pos_weight = p}, z, y), want, 1e-13);
      }
    }
  }
}

TEST(LossTest, HugeLogitsDoNotOverflow) {
  EXPECT_EQ(Of({.kind = LossKind::kBceWithLogits}, 1e30f, 1), 0);
  EXPECT_EQ(Of({.kind = LossKind::kBceWithLogits}, -1e4f, 1), 1e4);
  Matrix out(2, 3), gradient(2, 3);
  out << 1e5f, 0, -1e5f, 1e38f, -1e38f, 0;
  const Rows rows{Matrix(2, 1), Matrix(), {1, 0}, {}};
  EXPECT_EQ(
      LossGradient({.kind = LossKind::kCrossEntropy}, ViewOf(out), rows.batch(), ViewOf(gradient)),
      5e4);
  EXPECT_TRUE(gradient.allFinite());
}

TEST(LossTest, CrossEntropyFormula) {
  Matrix out(1, 3);
  out << 1, 2, 0.5f;
  const Rows rows{Matrix(1, 1), Matrix(), {2}, {}};
  const double sum = std::exp(1.0) + std::exp(2.0) + std::exp(0.5);
  EXPECT_NEAR(LossValue({.kind = LossKind::kCrossEntropy}, ViewOf(out), rows.batch()),
              -std::log(std::exp(0.5) / sum), 1e-14);
}

const std::vector<LossSpec>& AllLosses() {
  static const std::vector<LossSpec> all = {{.kind = LossKind::kMse},
                                            {.kind = LossKind::kL1},
                                            {.kind = LossKind::kSmoothL1, .beta = 0.5},
                                            {.kind = LossKind::kSmoothL1, .beta = 0},
                                            {.kind = LossKind::kHuber, .delta = 0.8},
                                            {.kind = LossKind::kBceWithLogits, .pos_weight = 2.5},
                                            {.kind = LossKind::kCrossEntropy}};
  return all;
}

// Rows that fit the loss, and outputs in `x`.
Rows Fitting(const LossSpec& loss, int rows, uint64_t seed) {
  Rows r{Normal(rows, 3, seed), Normal(rows, 3, seed + 1), {}, {}};
  if (loss.kind == LossKind::kBceWithLogits) r.y = r.y.array().abs().min(1.0f);
  if (loss.kind == LossKind::kCrossEntropy) {
    r.y = Matrix();
    for (int i = 0; i < rows; ++i) r.labels.push_back(static_cast<int>(Mix(seed + i) % 3));
  }
  return r;
}

TEST(LossTest, GradientsAgreeWithDifferences) {
  for (const LossSpec& loss : AllLosses()) {
    for (const bool weighted : {false, true}) {
      Rows rows = Fitting(loss, 6, 11);
      if (weighted) rows.weights = {1, 0.5f, 0, 2, 3, 0.25f};
      Matrix out = rows.x, gradient(6, 3);
      const double value = LossGradient(loss, ViewOf(out), rows.batch(), ViewOf(gradient));
      EXPECT_EQ(value, LossValue(loss, ViewOf(out), rows.batch()));
      for (int i = 0; i < out.size(); ++i) {
        const double want = Difference(out.data()[i], 0x1p-12f,
                                       [&] { return LossValue(loss, ViewOf(out), rows.batch()); });
        EXPECT_NEAR(gradient.data()[i], want, 1e-6) << static_cast<int>(loss.kind) << " " << i;
      }
    }
  }
}

TEST(LossTest, OnlyTheRatiosOfWeightsMatter) {
  for (const LossSpec& loss : AllLosses()) {
    Rows a = Fitting(loss, 4, 5), b = a;
    a.weights = {1, 2, 3, 4};
    b.weights = {0.25f, 0.5f, 0.75f, 1};
    Matrix grad_a(4, 3), grad_b(4, 3);
    EXPECT_DOUBLE_EQ(LossGradient(loss, ViewOf(a.x), a.batch(), ViewOf(grad_a)),
                     LossGradient(loss, ViewOf(b.x), b.batch(), ViewOf(grad_b)));
    EXPECT_EQ(grad_a, grad_b);
  }
}

TEST(LossTest, ARowOfWeightZeroAddsNothingAndOneOfTwoCountsTwice) {
  for (const LossSpec& loss : AllLosses()) {
    const Rows rows = Fitting(loss, 3, 8);
    Rows weighted = rows, twice = rows;
    weighted.weights = {2, 0, 1};
    twice.x.row(1) = rows.x.row(0);
    if (rows.labels.empty()) twice.y.row(1) = rows.y.row(0);
    if (!rows.labels.empty()) twice.labels[1] = rows.labels[0];
    Matrix grad_w(3, 3), grad_t(3, 3);
    EXPECT_NEAR(LossGradient(loss, ViewOf(weighted.x), weighted.batch(), ViewOf(grad_w)),
                LossGradient(loss, ViewOf(twice.x), twice.batch(), ViewOf(grad_t)), 1e-14);
    EXPECT_TRUE((grad_w.row(1).array() == 0).all());
    EXPECT_TRUE(grad_w.row(0).isApprox(grad_t.row(0) + grad_t.row(1), 1e-6f));
  }
}

TEST(LossTest, DerivativesAtTheKinksAreTorchs) {
  const auto slope = [](const LossSpec& loss, float d) {
    const Matrix out = Matrix::Constant(1, 1, d);
    const Rows rows{Matrix(1, 1), Matrix::Zero(1, 1), {}, {}};
    Matrix gradient(1, 1);
    LossGradient(loss, ViewOf(out), rows.batch(), ViewOf(gradient));
    return gradient(0, 0);
  };
  EXPECT_EQ(slope({.kind = LossKind::kL1}, 0), 0);
  EXPECT_EQ(slope({.kind = LossKind::kSmoothL1, .beta = 0}, 0), 0);
  EXPECT_EQ(slope({.kind = LossKind::kHuber, .delta = 2}, -2), -2);
}

TEST(CheckTargetsTest, RefusesByReasonWhatDoesNotFit) {
  const LossSpec mse, bce{.kind = LossKind::kBceWithLogits}, cross{.kind = LossKind::kCrossEntropy};
  const Matrix x(3, 2);
  const auto check = [](const LossSpec& loss, const Rows& rows, int out) {
    return CheckTargets(loss, rows.batch(), out);
  };
  EXPECT_TRUE(check(mse, {x, Matrix::Zero(3, 2), {}, {1, 0, 2}}, 2).ok());
  EXPECT_TRUE(check(bce, {x, Matrix::Constant(3, 2, 0.5f), {}, {}}, 2).ok());
  EXPECT_TRUE(check(bce, {x, {}, {0, 1, 1}, {}}, 1).ok());
  EXPECT_TRUE(check(cross, {x, {}, {0, 1, 2}, {}}, 3).ok());

  ExpectRefused(check(mse, {x, {}, {}, {}}, 2), "TARGET_MISMATCH", "targets");
  ExpectRefused(check(mse, {x, {}, {0, 1, 0}, {}}, 1), "TARGET_MISMATCH", "labels");
  ExpectRefused(check(bce, {x, {}, {0, 1, 0}, {}}, 2), "TARGET_MISMATCH", "labels");
  ExpectRefused(check(cross, {x, Matrix::Zero(3, 3), {}, {}}, 3), "TARGET_MISMATCH", "labels");
  ExpectRefused(check(cross, {x, Matrix::Zero(3, 3), {0, 1, 2}, {}}, 3), "TARGET_MISMATCH",
                "targets");
  ExpectRefused(check(bce, {x, Matrix::Constant(3, 2, 1.5f), {}, {}}, 2), "TARGET_MISMATCH",
                "targets.values[0]");
  // torch would broadcast these three.
  ExpectRefused(check(mse, {x, Matrix::Zero(1, 3), {}, {}}, 1), "SHAPE_MISMATCH", "targets");
  ExpectRefused(check(mse, {x, Matrix::Zero(3, 1), {}, {}}, 2), "SHAPE_MISMATCH", "targets");
  ExpectRefused(check(mse, {x, Matrix::Zero(1, 1), {}, {}}, 1), "SHAPE_MISMATCH", "targets");
  ExpectRefused(check(cross, {x, {}, {0, 1}, {}}, 3), "SHAPE_MISMATCH", "labels");
  ExpectRefused(check(cross, {x, {}, {0, 3, 1}, {}}, 3), "LABEL_OUT_OF_RANGE", "labels[1]");
  ExpectRefused(check(cross, {x, {}, {0, 1, -1}, {}}, 3), "LABEL_OUT_OF_RANGE", "labels[2]");
  ExpectRefused(check(bce, {x, {}, {2, 1, 0}, {}}, 1), "LABEL_OUT_OF_RANGE", "labels[0]");
  const Matrix y = Matrix::Zero(3, 1);
  ExpectRefused(check(mse, {x, y, {}, {1, 1}}, 1), "INVALID_WEIGHTS", "sample_weights");
  ExpectRefused(check(mse, {x, y, {}, {0, 0, 0}}, 1), "INVALID_WEIGHTS", "sample_weights");
  ExpectRefused(check(mse, {x, y, {}, {1, -1, 3}}, 1), "INVALID_WEIGHTS", "sample_weights[1]");
  ExpectRefused(check(mse, {x, y, {}, {1, 1, NAN}}, 1), "INVALID_WEIGHTS", "sample_weights[2]");
}

TEST(ToProbabilitiesTest, SoftmaxAndLogisticAndARefusalForTheRest) {
  Matrix z(2, 3);
  z << 1, 2, 0.5f, 1e5f, 0, 0;
  Matrix softmax = z, logistic = z;
  ASSERT_TRUE(ToProbabilities({.kind = LossKind::kCrossEntropy}, ViewOf(softmax)).ok());
  ASSERT_TRUE(ToProbabilities({.kind = LossKind::kBceWithLogits}, ViewOf(logistic)).ok());
  EXPECT_NEAR(softmax.row(0).sum(), 1, 1e-6);
  EXPECT_NEAR(softmax(0, 1) / softmax(0, 0), std::exp(1), 1e-5);
  EXPECT_EQ(softmax(1, 0), 1);
  EXPECT_NEAR(logistic(0, 1), Logistic(2), 1e-7);
  EXPECT_EQ(logistic(1, 0), 1);
  EXPECT_EQ(logistic(1, 1), 0.5f);
  ExpectRefused(ToProbabilities({.kind = LossKind::kMse}, ViewOf(z)), "TARGET_MISMATCH", "output");
}

}  // namespace
}  // namespace lazynorm
