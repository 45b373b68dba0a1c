#include "server/rpc/guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/token_line.h"

namespace lazynorm {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

constexpr Access kPredict{.role = Role::kPredict};
constexpr Access kTrain{.role = Role::kTrain};
constexpr Access kAll{.role = Role::kPredict, .all_models = true};

std::shared_ptr<const Tokens> TokensOf(const std::string& text) {
  auto tokens = Tokens::Parse(text);
  EXPECT_TRUE(tokens.ok()) << tokens.status();
  return *std::move(tokens);
}

absl::Status Admit(Guard& guard, const Access& access, const std::string& name, Pass* pass,
                   bool counted = false) {
  return guard.Admit(
      access, absl::StrCat("Bearer ", name, "-secret"), [] { return std::string("address"); }, pass,
      counted);
}

TEST(GuardTest, APassIsAsGoodAsItsTokenIsNow) {
  Guard guard(TokensOf(TokenLine("a", "train", "x-*") + TokenLine("b", "admin")));
  Pass pass;
  ASSERT_TRUE(Admit(guard, kTrain, "a", &pass).ok());
  const auto says = [&](const std::string& text) {
    guard.SetTokens(TokensOf(text));
    return std::pair(pass.Check().code(), pass.CheckModel("x-1").code());
  };
  const std::string b = TokenLine("b", "admin");
  const auto both = [](StatusCode code) { return std::pair(code, code); };
  EXPECT_EQ(says(TokenLine("a", "train", "x-*") + b), both(StatusCode::kOk))
      << "another file, the same";
  EXPECT_EQ(says(TokenLine("a", "admin") + b), both(StatusCode::kOk)) << "it may more";
  EXPECT_EQ(says(TokenLine("a", "train", "y x-1") + b), both(StatusCode::kOk));
  EXPECT_EQ(says(TokenLine("a", "train", "y") + b),
            std::pair(StatusCode::kOk, StatusCode::kPermissionDenied));
  EXPECT_EQ(says(TokenLine("a", "predict", "x-*") + b), both(StatusCode::kPermissionDenied));
  EXPECT_EQ(says(b), both(StatusCode::kUnauthenticated));
  EXPECT_EQ(says(TokenLine("a", "train", "x-*")), both(StatusCode::kOk)) << "and back";
  EXPECT_EQ(pass.name(), "a");
}

TEST(GuardTest, ATokenThatIsReplacedUnderItsNameIsGone) {
  Guard guard(TokensOf(TokenLine("a", "train")));
  Pass pass;
  ASSERT_TRUE(Admit(guard, kTrain, "a", &pass).ok());
  std::string other = TokenLine("b", "train");
  other[0] = 'a';
  guard.SetTokens(TokensOf(other));
  EXPECT_EQ(pass.Check().code(), StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(pass.Check().message()), HasSubstr("not known any more"));
}

TEST(GuardTest, WhoIsBoundToSomeModelsLosesWhatIsForAll) {
  Guard guard(TokensOf(TokenLine("a", "predict")));
  Pass pass;
  ASSERT_TRUE(Admit(guard, kAll, "a", &pass).ok());
  guard.SetTokens(TokensOf(TokenLine("a", "predict", "x")));
  EXPECT_EQ(pass.Check().code(), StatusCode::kPermissionDenied);
}

TEST(GuardTest, WithoutTokensAPassStaysGood) {
  Guard guard(nullptr, {.calls_in_flight = 1});
  Pass pass, open;
  ASSERT_TRUE(Admit(guard, kTrain, "a", &pass).ok());
  for (const Pass* each : {&pass, &open}) {
    EXPECT_TRUE(each->Check().ok());
    EXPECT_TRUE(each->CheckModel("m").ok());
    EXPECT_EQ(each->name(), "");
  }
}

TEST(GuardTest, WhatWasCountedElsewhereIsNotCountedAgain) {
  for (const auto& tokens : {TokensOf(TokenLine("a", "train")), std::shared_ptr<const Tokens>()}) {
    Guard guard(tokens, {.calls_per_second = 1, .calls_in_flight = 1});
    Pass first, second, counted;
    ASSERT_TRUE(Admit(guard, kPredict, "a", &first).ok());
    EXPECT_EQ(Admit(guard, kPredict, "a", &second).code(), StatusCode::kResourceExhausted);
    EXPECT_TRUE(Admit(guard, kPredict, "a", &counted, /*counted=*/true).ok());
    EXPECT_EQ(counted.SpendMessage(), absl::ZeroDuration());
  }
  Guard guard(TokensOf(TokenLine("a", "predict")), {.calls_per_second = 1});
  Pass pass;
  EXPECT_EQ(Admit(guard, kTrain, "a", &pass, /*counted=*/true).code(),
            StatusCode::kPermissionDenied)
      << "its token is looked at";
  EXPECT_EQ(Admit(guard, kTrain, "b", &pass, /*counted=*/true).code(),
            StatusCode::kUnauthenticated);
}

TEST(GuardTest, APassThatHasLeftDoesNotLeaveAgainWhenItGoes) {
  Guard guard(TokensOf(TokenLine("a", "train")), {.calls_in_flight = 1});
  Pass next, other;
  {
    Pass answered;
    ASSERT_TRUE(Admit(guard, kTrain, "a", &answered).ok());
    answered.Leave();
    answered.Leave();
    EXPECT_TRUE(Admit(guard, kTrain, "a", &next).ok());
    EXPECT_EQ(answered.name(), "a");
  }
  EXPECT_FALSE(Admit(guard, kTrain, "a", &other).ok());
}

TEST(GuardTest, APassThatIsMovedLeavesItsAccountOnce) {
  Guard guard(TokensOf(TokenLine("a", "train")), {.calls_in_flight = 1});
  {
    Pass pass;
    ASSERT_TRUE(Admit(guard, kTrain, "a", &pass).ok());
    const Pass moved = std::move(pass);
    EXPECT_TRUE(moved.CheckModel("m").ok());
    EXPECT_EQ(moved.name(), "a");
    Pass other;
    EXPECT_FALSE(Admit(guard, kTrain, "a", &other).ok());
  }
  Pass one, two;
  EXPECT_TRUE(Admit(guard, kTrain, "a", &one).ok());
  EXPECT_FALSE(Admit(guard, kTrain, "a", &two).ok());
}

}  // namespace
}  // namespace lazynorm
