#include "model/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace lazynorm {
namespace {

using Real = long double;

constexpr ActivationKind kAll[] = {ActivationKind::kIdentity,  ActivationKind::kRelu,
                                   ActivationKind::kLeakyRelu, ActivationKind::kElu,
                                   ActivationKind::kSelu,      ActivationKind::kGelu,
                                   ActivationKind::kSilu,      ActivationKind::kTanh,
                                   ActivationKind::kSigmoid,   ActivationKind::kSoftplus};
constexpr Real kAlpha = 1.6732632423543772848170429916717L;
constexpr Real kScale = 1.0507009873554804934193349852946L;

Real Logistic(Real x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

Real Value(ActivationKind kind, Real x) {
  switch (kind) {
    case ActivationKind::kIdentity:
      return x;
    case ActivationKind::kRelu:
      return x > 0 ? x : 0;
    case ActivationKind::kLeakyRelu:
      return x > 0 ? x : 0.25L * x;
    case ActivationKind::kElu:
      return x > 0 ? x : std::expm1(x);
    case ActivationKind::kSelu:
      return kScale * (x > 0 ? x : kAlpha * std::expm1(x));
    case ActivationKind::kGelu:
      return x * std::erfc(-x / std::sqrt(2.0L)) / 2;
    case ActivationKind::kSilu:
      return x * Logistic(x);
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kSigmoid:
      return Logistic(x);
    case ActivationKind::kSoftplus:
      return x > 20 ? x : std::log1p(std::exp(x));
  }
  return 0;
}

Real Derivative(ActivationKind kind, Real x) {
  const Real s = Logistic(x);
  switch (kind) {
    case ActivationKind::kIdentity:
      return 1;
    case ActivationKind::kRelu:
      return x > 0 ? 1 : 0;
    case ActivationKind::kLeakyRelu:
      return x > 0 ? 1 : 0.25L;
    case ActivationKind::kElu:
      return x > 0 ? 1 : std::exp(x);
    case ActivationKind::kSelu:
      return kScale * (x > 0 ? 1 : kAlpha * std::exp(x));
    case ActivationKind::kGelu:
      return std::erfc(-x / std::sqrt(2.0L)) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PIl);
    case ActivationKind::kSilu:
      return s * (1 + x * (1 - s));
    case ActivationKind::kTanh:
      return 1 - std::tanh(x) * std::tanh(x);
    case ActivationKind::kSigmoid:
      return s * (1 - s);
    case ActivationKind::kSoftplus:
      return x > 20 ? 1 : s;
  }
  return 0;
}

float ValueOf(ActivationKind kind, float x) {
  float y;
  Activate({.kind = kind, .negative_slope = 0.25}, &x, 1, &y);
  return y;
}

float SlopeAt(ActivationKind kind, float x) {
  const float y = ValueOf(kind, x), one = 1;
  float slope;
  ActivateGradient({.kind = kind, .negative_slope = 0.25}, &x, &y, &one, 1, &slope);
  return slope;
}

std::vector<float> Points() {
  std::vector<float> points = {0, -0.0f, 1e-30f, -1e-30f, 20, 20.5f, -20, 88, -88, 1e4f, -1e4f};
  for (float x = -12; x <= 12; x += 0.0625f) points.push_back(x);
  return points;
}

TEST(ActivationTest, ValuesAreThoseOfTheFormulae) {
  for (const ActivationKind kind : kAll) {
    for (const float x : Points()) {
      const Real want = Value(kind, x);
      EXPECT_NEAR(ValueOf(kind, x), want, 5e-7 + 3e-7 * std::fabs(want))
          << static_cast<int>(kind) << " at " << x;
    }
  }
}

TEST(ActivationTest, DerivativesAreThoseOfTheFormulae) {
  for (const ActivationKind kind : kAll) {
    for (const float x : Points()) {
      EXPECT_NEAR(SlopeAt(kind, x), Derivative(kind, x), 1e-6)
          << static_cast<int>(kind) << " at " << x;
    }
  }
}

TEST(ActivationTest, NothingOverflowsFarOut) {
  for (const ActivationKind kind : kAll) {
    for (const float x : {1e4f, -1e4f, 1e30f, -1e30f}) {
      EXPECT_TRUE(std::isfinite(ValueOf(kind, x))) << static_cast<int>(kind) << " at " << x;
      EXPECT_TRUE(std::isfinite(SlopeAt(kind, x))) << static_cast<int>(kind) << " at " << x;
    }
  }
}

TEST(ActivationTest, AtZeroTheDerivativeIsThatOfTheLeftSide) {
  EXPECT_EQ(SlopeAt(ActivationKind::kRelu, 0), 0);
  EXPECT_EQ(SlopeAt(ActivationKind::kLeakyRelu, 0), 0.25f);
  EXPECT_EQ(SlopeAt(ActivationKind::kElu, 0), 1);
  EXPECT_FLOAT_EQ(SlopeAt(ActivationKind::kSelu, 0), static_cast<float>(kScale * kAlpha));
}

TEST(ActivationTest, SoftplusIsLinearAboveTwenty) {
  EXPECT_EQ(ValueOf(ActivationKind::kSoftplus, 20.5f), 20.5f);
  EXPECT_EQ(SlopeAt(ActivationKind::kSoftplus, 20.5f), 1);
}

TEST(ActivationTest, GeluIsTheExactFormNotTheTanhForm) {
  const double x = 2.0;
  const double tanh_form =
      x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  EXPECT_GT(std::fabs(ValueOf(ActivationKind::kGelu, 2) - tanh_form), 5e-5);
}

TEST(ActivationTest, NanPassesThroughAllOfThem) {
  for (const ActivationKind kind : kAll) {
    EXPECT_TRUE(std::isnan(ValueOf(kind, std::numeric_limits<float>::quiet_NaN())))
        << static_cast<int>(kind);
  }
}

TEST(ActivationTest, WorksInPlace) {
  std::vector<float> x = {-1, 0.5f, 2};
  Activate({.kind = ActivationKind::kTanh}, x.data(), 3, x.data());
  EXPECT_FLOAT_EQ(x[0], std::tanh(-1.0f));
  EXPECT_FLOAT_EQ(x[2], std::tanh(2.0f));
}

TEST(ActivationTest, OnlyIdentityLetsAShiftThrough) {
  for (const ActivationKind kind : kAll) {
    EXPECT_EQ(Activation({.kind = kind}).PassesShift(), kind == ActivationKind::kIdentity);
  }
}

}  // namespace
}  // namespace lazynorm
