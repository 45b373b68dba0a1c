#include "server/base/periodic.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/time/clock.h"

namespace lazynorm {
namespace {

TEST(PeriodicTest, ItIsDoneAgainAndAgainUntilTheEnd) {
  std::atomic<int> times = 0;
  {
    const Periodic periodic(absl::Milliseconds(1), [&] { ++times; });
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (times < 3 && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(1));
  }
  const int at_the_end = times;
  EXPECT_GE(at_the_end, 3);
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(times, at_the_end);
}

TEST(PeriodicTest, TheEndDoesNotWaitForTheNextTime) {
  const absl::Time begin = absl::Now();
  {
    const Periodic periodic(absl::Hours(1), [] { FAIL() << "too early"; });
  }
  EXPECT_LT(absl::Now() - begin, absl::Minutes(30));
}

}  // namespace
}  // namespace lazynorm
