#include "model/drift.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// The mean squared error of `rows` normal errors at each of `steps` steps.
class Errors {
 public:
  Errors(int steps, int rows, uint64_t seed) : errors_(Normal(steps, rows, seed)) {}
  double operator()(int step) const { return errors_.row(step).squaredNorm() / errors_.cols(); }

 private:
  const Matrix errors_;
};

// The steps at which drift is found in `steps` losses, each of `rows` rows; steps count from 1.
std::vector<int> Found(int steps, int rows, const std::function<double(int)>& loss) {
  DriftDetector detector;
  std::vector<int> found;
  for (int t = 0; t < steps; ++t) {
    if (detector.Observe(loss(t), rows, t + 1)) found.push_back(t + 1);
  }
  EXPECT_EQ(detector.drifts(), static_cast<int64_t>(found.size()));
  EXPECT_EQ(detector.last_drift_step(), found.empty() ? 0 : found.back());
  return found;
}

TEST(DriftTest, ALossThatStaysAsItIsIsQuiet) {
  for (const int rows : {1, 32}) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      const Errors errors(10000, rows, seed);
      EXPECT_TRUE(Found(10000, rows, errors).empty()) << rows << " rows, seed " << seed;
    }
  }
  EXPECT_TRUE(Found(1000, 8, [](int) { return 0.25; }).empty());
  EXPECT_TRUE(Found(1000, 8, [](int) { return 0.0; }).empty());
}

TEST(DriftTest, ALossThatDoublesIsFoundOnce) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Errors batches(6000, 32, seed), rows(6000, 1, seed);
    const auto many = Found(6000, 32, [&](int t) { return batches(t) * (t < 3000 ? 1 : 2); });
    ASSERT_EQ(many.size(), 1u);
    EXPECT_GT(many[0], 3000);
    EXPECT_LE(many[0], 3040);
    const auto one = Found(6000, 1, [&](int t) { return rows(t) * (t < 3000 ? 1 : 2); });
    ASSERT_EQ(one.size(), 1u);
    EXPECT_GT(one[0], 3000);
    EXPECT_LE(one[0], 3400);
  }
}

TEST(DriftTest, AGradualRiseIsFoundWhileItRises) {
  const Errors errors(6000, 32, 1);
  const auto found = Found(6000, 32, [&](int t) {
    return errors(t) * (t < 3000 ? 1 : 1 + 2 * std::fmin(1, (t - 3000) / 1000.0));
  });
  ASSERT_FALSE(found.empty());
  EXPECT_GT(found[0], 3000);
  EXPECT_LE(found.back(), 4000);
}

TEST(DriftTest, ARiseThatTheModelLearnsAwayIsFoundBeforeItIsGone) {
  const Errors errors(6000, 32, 1);
  const auto found = Found(6000, 32, [&](int t) {
    return errors(t) * (t < 3000 ? 1 : 1 + 9 * std::exp((3000 - t) / 100.0));
  });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_GT(found[0], 3000);
  EXPECT_LE(found[0], 3040);
}

TEST(DriftTest, LearningIsNoDriftAndWhatComesAfterIsComparedWithWhatWasLearned) {
  const Errors errors(8000, 32, 1);
  const auto falling = [&](int t) { return errors(t) * (0.01 + 1e5 * std::exp(-t / 200.0)); };
  EXPECT_TRUE(Found(8000, 32, falling).empty());
  const auto found = Found(8000, 32, [&](int t) { return t < 6000 ? falling(t) : 3 * falling(t); });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_LE(found[0], 6040);
}

TEST(DriftTest, OutliersAreNoDrift) {
  for (const int rows : {1, 32}) {
    const Errors errors(10000, rows, 1);
    const auto loss = [&](int t) { return errors(t) * (t % 1000 == 999 ? 1e12 : 1); };
    EXPECT_TRUE(Found(10000, rows, loss).empty()) << rows;
  }
}

// Squares of Student's t with 1.5 degrees of freedom: they have no mean.
TEST(DriftTest, HeavyTailsAreNoDrift) {
  const Random random(3);
  const Errors errors(10000, 1, 3);
  const auto loss = [&](int t) {
    const double u = 1 - static_cast<double>(random.Uniform(t));
    return errors(t) * std::pow(u, -1 / 0.75);
  };
  EXPECT_TRUE(Found(10000, 1, loss).empty());
}

TEST(DriftTest, OtherSizesOfRequestAreNoDrift) {
  const Errors single(4000, 1, 1), many(2000, 500, 2);
  DriftDetector detector;
  for (int t = 0; t < 4000; ++t) EXPECT_FALSE(detector.Observe(single(t), 1, t + 1));
  for (int t = 0; t < 2000; ++t) EXPECT_FALSE(detector.Observe(many(t), 500, 4001 + t));
}

TEST(DriftTest, WhatIsNotFiniteIsPassedOver) {
  const Errors errors(2000, 8, 1);
  DriftDetector with, without;
  for (int t = 0; t < 2000; ++t) {
    for (const double bad : {kNan, kInf, -kInf}) EXPECT_FALSE(with.Observe(bad, 8, t + 1));
    const double loss = errors(t) * (t < 1000 ? 1 : 3);
    EXPECT_EQ(with.Observe(loss, 8, t + 1), without.Observe(loss, 8, t + 1));
    ASSERT_EQ(with.state(), without.state());
  }
  EXPECT_EQ(with.drifts(), 1);
}

TEST(DriftTest, TheLevelRisesFromNothingToOneAndFallsAtTheAlarm) {
  const Errors errors(2000, 32, 1);
  DriftDetector detector;
  double highest = 0;
  for (int t = 0; t < 1000; ++t) detector.Observe(errors(t), 32, t + 1);
  EXPECT_LT(detector.level(), 0.3);
  for (int t = 1000; detector.drifts() == 0 && t < 2000; ++t) {
    detector.Observe(3 * errors(t), 32, t + 1);
    EXPECT_GE(detector.level(), 0);
    EXPECT_LE(detector.level(), 1);
    highest = std::fmax(highest, detector.level());
  }
  EXPECT_EQ(detector.drifts(), 1);
  EXPECT_EQ(detector.level(), 0);
  EXPECT_GT(highest, 0.5);
}

TEST(DriftTest, AStateTakenUpGoesOnAlike) {
  const Errors errors(2000, 7, 1);
  DriftDetector first;
  for (int t = 0; t < 999; ++t) first.Observe(errors(t), 7, t + 1);
  DriftDetector second;
  second = first;
  for (int t = 999; t < 2000; ++t) {
    EXPECT_EQ(first.Observe(4 * errors(t), 7, t + 1), second.Observe(4 * errors(t), 7, t + 1));
  }
  EXPECT_EQ(first.state(), second.state());
  EXPECT_EQ(first.drifts(), 1);
}

}  // namespace
}  // namespace lazynorm
