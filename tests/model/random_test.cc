#include "model/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace lazynorm {
namespace {

// These numbers decide what every model ever seeded looks like: they may not change.
TEST(RandomTest, NumbersArePinned) {
  EXPECT_EQ(Mix(0), 0u);
  EXPECT_EQ(Mix(0x9e3779b97f4a7c15u), 0xe220a8397b1dcdafu);      // SplitMix64, seed 0, first number
  EXPECT_EQ(Mix(2 * 0x9e3779b97f4a7c15u), 0x6e789e6aa1b965f4u);  // and second
  const Random random(42);
  EXPECT_EQ(random.Bits(0), 0x57e1faba65107204u);
  EXPECT_EQ(random.Bits(1), 0xf4abd143feb24055u);
  EXPECT_EQ(random.Stream(3).Bits(0), 0x2b4c3880411541a0u);
  EXPECT_EQ(random.Stream(3).Stream(1).Uniform(5), 414477 * 0x1p-24f);
}

TEST(RandomTest, UniformNumbersFillTheirIntervalEvenly) {
  const Random random(1);
  const int n = 100000, buckets = 50;
  std::vector<int> counts(buckets);
  double sum = 0, square = 0;
  for (int i = 0; i < n; ++i) {
    const float u = random.Uniform(i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++counts[static_cast<int>(u * buckets)];
    sum += u;
    square += static_cast<double>(u) * u;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.004);
  EXPECT_NEAR(square / n, 1.0 / 3, 0.004);
  double chi = 0;
  for (const int count : counts) chi += std::pow(count - n / buckets, 2) / (n / buckets);
  EXPECT_LT(chi, 49 + 5 * std::sqrt(2 * 49.0));
}

TEST(RandomTest, StreamsAndNeighboursAreUncorrelated) {
  const int n = 100000;
  const Random a = Random(1).Stream(0), b = Random(1).Stream(1), c = Random(2).Stream(0);
  double streams = 0, seeds = 0, neighbours = 0;
  for (int i = 0; i < n; ++i) {
    streams += (a.Uniform(i) - 0.5) * (b.Uniform(i) - 0.5);
    seeds += (a.Uniform(i) - 0.5) * (c.Uniform(i) - 0.5);
    neighbours += (a.Uniform(i) - 0.5) * (a.Uniform(i + 1) - 0.5);
  }
  const double bound = 5 * std::sqrt(n / 144.0);
  EXPECT_LT(std::fabs(streams), bound);
  EXPECT_LT(std::fabs(seeds), bound);
  EXPECT_LT(std::fabs(neighbours), bound);
}

TEST(RandomTest, AStreamOfAStreamDependsOnTheOrderOfNames) {
  EXPECT_NE(Random(1).Stream(2).Stream(3).Bits(0), Random(1).Stream(3).Stream(2).Bits(0));
  EXPECT_NE(Random(1).Stream(0).Bits(0), Random(1).Bits(0));
}

}  // namespace
}  // namespace lazynorm
