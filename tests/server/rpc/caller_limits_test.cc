#include "server/rpc/caller_limits.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "server/rpc/status.h"

namespace lazynorm {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

int64_t RetryMs(const absl::Status& status) {
  int64_t ms = -1;
  const auto payload = status.GetPayload(kRetryMsUrl);
  return payload.has_value() && absl::SimpleAtoi(std::string(*payload), &ms) ? ms : -1;
}

TEST(CallerAccountTest, ASecondsWorthMayComeAtOnceThenOneAsTheRateSays) {
  CallerAccount account({.calls_per_second = 4});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(account.Enter(kStart).ok());
  const absl::Status fifth = account.Enter(kStart);
  EXPECT_EQ(fifth.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(fifth), "RATE_LIMITED");
  EXPECT_EQ(RetryMs(fifth), 250);
  EXPECT_FALSE(account.Enter(kStart + absl::Milliseconds(249)).ok());
  EXPECT_TRUE(account.Enter(kStart + absl::Milliseconds(250)).ok());
  EXPECT_FALSE(account.Enter(kStart + absl::Milliseconds(251)).ok());
  // No more than a second's worth is saved up.
  const absl::Time later = kStart + absl::Hours(1);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(account.Enter(later).ok());
  EXPECT_FALSE(account.Enter(later).ok());
}

TEST(CallerAccountTest, AClockThatGoesBackGivesNothing) {
  CallerAccount account({.calls_per_second = 1});
  EXPECT_TRUE(account.Enter(kStart).ok());
  EXPECT_FALSE(account.Enter(kStart - absl::Hours(1)).ok());
  EXPECT_FALSE(account.Enter(kStart).ok());
}

TEST(CallerAccountTest, WhoLeavesMakesRoom) {
  CallerAccount account({.calls_in_flight = 2});
  EXPECT_TRUE(account.Enter(kStart).ok());
  EXPECT_TRUE(account.Enter(kStart).ok());
  EXPECT_EQ(ReasonOf(account.Enter(kStart)), "RATE_LIMITED");
  account.Leave();
  EXPECT_TRUE(account.Enter(kStart).ok());
  EXPECT_FALSE(account.Enter(kStart).ok());
}

TEST(CallerAccountTest, MessagesOfAStreamAreSlowedDown) {
  CallerAccount account({.calls_per_second = 10});
  for (int i = 0; i < 9; ++i) EXPECT_EQ(account.Spend(kStart), absl::ZeroDuration());
  EXPECT_EQ(account.Spend(kStart), absl::Milliseconds(100));
  EXPECT_EQ(account.Spend(kStart), absl::Milliseconds(200));
  EXPECT_EQ(account.Spend(kStart + absl::Milliseconds(200)), absl::Milliseconds(100));
  CallerAccount unlimited({.calls_in_flight = 1});
  EXPECT_EQ(unlimited.Spend(kStart), absl::ZeroDuration());
}

TEST(CallerLimitsTest, EachCallerHasAnAccountOfItsOwn) {
  CallerLimits limits({.calls_per_second = 1});
  EXPECT_TRUE(limits.AccountOf("a", kStart)->Enter(kStart).ok());
  EXPECT_FALSE(limits.AccountOf("a", kStart)->Enter(kStart).ok());
  EXPECT_TRUE(limits.AccountOf("b", kStart)->Enter(kStart).ok());
}

TEST(CallerLimitsTest, CallersBeyondTheMostShareOneUntilOthersAreIdle) {
  CallerLimits limits({.calls_per_second = 1}, /*most_callers=*/2);
  const auto a = limits.AccountOf("a", kStart), b = limits.AccountOf("b", kStart);
  EXPECT_TRUE(a->Enter(kStart).ok() && b->Enter(kStart).ok());
  const auto others = limits.AccountOf("c", kStart);
  EXPECT_EQ(others, limits.AccountOf("d", kStart));
  EXPECT_NE(others, a);
  EXPECT_EQ(limits.AccountOf("a", kStart), a);  // who has one keeps it
  a->Leave();
  b->Leave();
}

TEST(CallerLimitsTest, AccountsThatAreIdleGo) {
  CallerLimits limits({.calls_per_second = 1}, /*most_callers=*/2);
  std::weak_ptr<CallerAccount> gone = limits.AccountOf("idle", kStart);
  limits.AccountOf("busy", kStart)->Enter(kStart).IgnoreError();
  const absl::Time later = kStart + absl::Seconds(1);
  const auto busy = limits.AccountOf("busy", later);
  EXPECT_NE(limits.AccountOf("new", later), limits.AccountOf("another", later));
  EXPECT_TRUE(gone.expired());
  EXPECT_EQ(limits.AccountOf("busy", later), busy);
}

TEST(CallerLimitsTest, WithoutLimitsThereIsNothingToCount) {
  EXPECT_FALSE(CallerLimits({}).enabled());
  EXPECT_TRUE(CallerLimits({.calls_in_flight = 1}).enabled());
}

}  // namespace
}  // namespace lazynorm
