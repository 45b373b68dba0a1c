#include "server/rpc/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lazynorm {
namespace {

using testing::HasSubstr;
using testing::Not;

// printf %s abc | sha256sum; FIPS 180-2 has it as an example.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
// Of nothing.
constexpr char kNothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string ErrorOf(const std::string& text) {
  const auto tokens = Tokens::Parse(text);
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(tokens.status().message());
}

TEST(TokensTest, ATokenIsFoundByItsHash) {
  const auto tokens = Tokens::Parse(
      absl::StrCat("# who\tmay\n\n  feeder\ttrain ", kAbc, " demand-* weather  # since May\r\n"));
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const auto caller = (*tokens)->Find("abc");
  ASSERT_NE(caller, nullptr);
  EXPECT_EQ(caller->name, "feeder");
  EXPECT_EQ(caller->role, Role::kTrain);
  EXPECT_EQ(caller->models, (std::vector<std::string>{"demand-*", "weather"}));
  for (const char* other : {"", "ab", "abcd", "ABC", kAbc}) {
    EXPECT_EQ((*tokens)->Find(other), nullptr) << other;
  }
}

TEST(TokensTest, OneNameMayHaveSeveralTokensSoThatTheyCanBeReplaced) {
  const auto tokens = Tokens::Parse(absl::StrCat("a admin ", kAbc, "\na predict ", kNothing, "\n"));
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ((*tokens)->size(), 2);
  EXPECT_EQ((*tokens)->Find("abc")->role, Role::kAdmin);
  EXPECT_EQ((*tokens)->Find("")->role, Role::kPredict);
}

TEST(TokensTest, ALineThatIsWrongIsNumberedAndNotRepeated) {
  const std::string good = absl::StrCat("a admin ", kAbc, "\n");
  for (const std::string& line :
       {std::string("my-secret"), std::string("b admin my-secret"), std::string("b admin"),
        absl::StrCat("b root ", kNothing), absl::StrCat("b admin ", kNothing, " my-secret!"),
        absl::StrCat("b admin ", kNothing, "0"), absl::StrCat("my/secret admin ", kNothing)}) {
    EXPECT_THAT(ErrorOf(absl::StrCat(good, line)), HasSubstr("line 2: expected")) << line;
    EXPECT_THAT(ErrorOf(absl::StrCat(good, line)), Not(HasSubstr("secret")));
  }
  EXPECT_THAT(ErrorOf(absl::StrCat(good, "b predict ", kAbc)),
              HasSubstr("line 2: expected another"));
}

TEST(TokensTest, OneTokenIsTheLeastAndAThousandTheMost) {
  EXPECT_THAT(ErrorOf("# nobody\n"), HasSubstr("got 0"));
  std::string text;
  const auto add = [&text](int i) {
    absl::StrAppend(&text, "a admin ", absl::Hex(i, absl::kZeroPad16), std::string(48, '0'), "\n");
  };
  for (int i = 0; i < Tokens::kMostTokens; ++i) add(i);
  EXPECT_TRUE(Tokens::Parse(text).ok());
  add(Tokens::kMostTokens);
  EXPECT_THAT(ErrorOf(text), HasSubstr("got 1001"));
}

TEST(CallerTest, PatternsStandForModels) {
  const Caller some{.name = "a", .role = Role::kAdmin, .models = {"demand-*", "w?"}};
  for (const char* model : {"demand-", "demand-x-y", "w1"})
    EXPECT_TRUE(some.MayUse(model)) << model;
  for (const char* model : {"", "demand", "xdemand-1", "w", "w12", "W1"}) {
    EXPECT_FALSE(some.MayUse(model)) << model;
  }
  EXPECT_FALSE(some.MayUse("demand-" + std::string(100, 'x')));
  EXPECT_TRUE(Caller{}.MayUse("anything"));
}

}  // namespace
}  // namespace lazynorm
