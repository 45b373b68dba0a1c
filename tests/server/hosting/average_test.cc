#include "server/hosting/average.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lazynorm {
namespace {

TEST(AverageTest, IsNothingThenTheFirstValueThenMostlyTheLatest) {
  Average average;
  EXPECT_TRUE(std::isnan(average.value()));
  average.Add(5);
  EXPECT_NEAR(average.value(), 5, 1e-12);
  average.Add(7);
  EXPECT_NEAR(average.value(), 6, 0.01);
  for (int i = 0; i < 1000; ++i) average.Add(1);
  EXPECT_NEAR(average.value(), 1, 0.01);
}

TEST(AverageTest, PassesOverWhatIsNotFinite) {
  Average average;
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double value : {infinity, 3.0, std::nan(""), -infinity}) average.Add(value);
  EXPECT_NEAR(average.value(), 3, 1e-12);
}

}  // namespace
}  // namespace lazynorm
