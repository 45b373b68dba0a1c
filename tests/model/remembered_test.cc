#include "model/remembered.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

constexpr int64_t kNever = int64_t{1} << 60;
constexpr int64_t kPlenty = int64_t{1} << 40;

// Rows of two features and one output, told apart by a number, and the command that brings them.
struct Told {
  explicit Told(std::vector<std::string> names, float number = 0, int64_t expires = kNever)
      : ids(std::move(names)), x(ids.size(), 2), y(ids.size(), 1) {
    for (size_t i = 0; i < ids.size(); ++i) {
      const float value = number + static_cast<float>(i);
      x(i, 0) = value, x(i, 1) = -value, y(i, 0) = 10 * value;
    }
    command = {.ids = {ids.begin(), ids.end()},
               .features = ViewOf(std::as_const(x)),
               .predictions = ViewOf(std::as_const(y)),
               .now = 0,
               .expires = expires,
               .max_rows = kPlenty,
               .max_bytes = kPlenty};
  }

  std::vector<std::string> ids;
  Matrix x, y;
  RememberCommand command;
};

void Tell(RememberedPredictions& memory, const RememberCommand& command) {
  const absl::Status status = memory.Remember(command);
  EXPECT_TRUE(status.ok()) << status;
}

absl::Status StatusOf(const RememberedPredictions& memory, std::vector<absl::string_view> ids,
                      int64_t now = 0) {
  RecallBuffer buffer;
  return memory.Recall(ids, now, buffer).status();
}

bool Knows(const RememberedPredictions& memory, absl::string_view id, int64_t now = 0) {
  return StatusOf(memory, {id}, now).ok();
}

// What is known, from the oldest to the youngest.
std::string Order(const RememberedPredictions& memory) {
  std::string ids;
  memory.ForEach([&](const auto& row) { absl::StrAppend(&ids, row.id, " "); });
  return ids;
}

TEST(RememberedTest, GivesBackWhatItWasToldInTheOrderAsked) {
  RememberedPredictions memory;
  Tell(memory, Told({"a", "b", "c"}, 1).command);
  RecallBuffer buffer;
  const auto recalled = memory.Recall({"c", "a"}, 0, buffer);
  ASSERT_TRUE(recalled.ok()) << recalled.status();
  ASSERT_EQ(recalled->features.rows(), 2);
  EXPECT_EQ(recalled->features(0, 0), 3);
  EXPECT_EQ(recalled->features(0, 1), -3);
  EXPECT_EQ(recalled->features(1, 0), 1);
  EXPECT_EQ(recalled->predictions(0, 0), 30);
  EXPECT_EQ(recalled->predictions(1, 0), 10);
  EXPECT_EQ(memory.size(), 3);
}

TEST(RememberedTest, TheOldestGoFirstBeyondTheRows) {
  RememberedPredictions memory;
  Told first({"a", "b", "c"}), second({"d", "e"});
  first.command.max_rows = second.command.max_rows = 4;
  Tell(memory, first.command);
  Tell(memory, second.command);
  EXPECT_EQ(Order(memory), "b c d e ");
  EXPECT_FALSE(Knows(memory, "a"));
  Told third({"f"});
  third.command.max_rows = 2;  // a bound that has shrunk meanwhile
  Tell(memory, third.command);
  EXPECT_EQ(Order(memory), "e f ");
}

TEST(RememberedTest, TheOldestGoFirstBeyondTheBytes) {
  const int64_t row = 4 * 3 + 2 * 1 + RememberedPredictions::kRowBytes;
  RememberedPredictions memory;
  Told first({"a", "b", "c"}), second({"d"});
  first.command.max_bytes = second.command.max_bytes = 3 * row;
  Tell(memory, first.command);
  EXPECT_EQ(memory.bytes(), 3 * row);
  Tell(memory, second.command);
  EXPECT_EQ(Order(memory), "b c d ");
  EXPECT_EQ(memory.bytes(), 3 * row);
  for (const char* id : {"b", "c", "d"}) memory.Forget(id);
  EXPECT_EQ(memory.bytes(), 0);
}

TEST(RememberedTest, MoreThanFitsIsRefusedAndForgetsNothing) {
  RememberedPredictions memory;
  Tell(memory, Told({"a"}).command);
  Told three({"b", "c", "d"}, 0, 5);
  three.command.max_rows = 2;
  ExpectRefused(memory.Remember(three.command), "LIMIT_EXCEEDED", "prediction_ids");
  three.command.max_rows = 3;
  three.command.max_bytes = 3 * RememberedPredictions::kRowBytes;
  ExpectRefused(memory.Remember(three.command), "LIMIT_EXCEEDED", "prediction_ids");
  EXPECT_EQ(Order(memory), "a ");
}

TEST(RememberedTest, ARowIsUnknownFromTheMomentItExpires) {
  RememberedPredictions memory;
  Tell(memory, Told({"a"}, 0, 100).command);
  EXPECT_TRUE(Knows(memory, "a", 99));
  EXPECT_FALSE(Knows(memory, "a", 100));
  memory.Expire(99);
  EXPECT_EQ(memory.size(), 1);
  Told later({"b"}, 0, 200);
  later.command.now = 100;
  Tell(memory, later.command);  // makes room
  EXPECT_EQ(Order(memory), "b ");
  memory.Expire(200);
  EXPECT_EQ(memory.size(), 0);
  EXPECT_EQ(memory.bytes(), 0);
}

TEST(RememberedTest, AClockThatWasSetBackMakesNothingKnownForLonger) {
  RememberedPredictions memory;
  Tell(memory, Told({"ahead"}, 0, 1000).command);
  Tell(memory, Told({"right"}, 0, 100).command);
  memory.Expire(500);  // what stands behind the one with the long life waits for it
  EXPECT_TRUE(Knows(memory, "ahead", 500));
  EXPECT_FALSE(Knows(memory, "right", 500));
}

TEST(RememberedTest, AnIdKnownAlreadyIsRememberedAnewAsTheYoungest) {
  RememberedPredictions memory;
  Tell(memory, Told({"a", "b"}, 1).command);
  const int64_t bytes = memory.bytes();
  Tell(memory, Told({"a"}, 7).command);
  EXPECT_EQ(Order(memory), "b a ");
  EXPECT_EQ(memory.bytes(), bytes);
  RecallBuffer buffer;
  EXPECT_EQ(memory.Recall({"a"}, 0, buffer)->predictions(0, 0), 70);
}

TEST(RememberedTest, UnknownIdsAreNamedTheFirstFewAtLeast) {
  RememberedPredictions memory;
  Tell(memory, Told({"a"}).command);
  const absl::Status two = StatusOf(memory, {"x", "a", "y"});
  EXPECT_EQ(two.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(two), "UNKNOWN_PREDICTION_ID");
  EXPECT_EQ(two.message(), "prediction_ids: unknown, expired or trained already: \"x\", \"y\"");
  const absl::Status many = StatusOf(memory, {"1", "2", "3", "4", "5", "6", "7"});
  EXPECT_EQ(many.message(),
            "prediction_ids: unknown, expired or trained already: \"1\", \"2\", \"3\", \"4\", "
            "\"5\" and 2 more");
}

TEST(RememberedTest, RowsOfDifferentWidthsAreNotRecalledTogether) {
  RememberedPredictions memory;
  Tell(memory, Told({"narrow"}).command);
  const Matrix x = Normal(1, 500, 1), y = Normal(1, 1, 2);
  Told wide({"wide"});
  wide.command.features = ViewOf(x);
  wide.command.predictions = ViewOf(y);
  Tell(memory, wide.command);
  ExpectRefused(StatusOf(memory, {"wide", "narrow"}), "WIDTH_MISMATCH", "features");
  ExpectRefused(StatusOf(memory, {"narrow", "wide"}), "WIDTH_MISMATCH", "features");
  EXPECT_TRUE(Knows(memory, "narrow"));
  EXPECT_TRUE(Knows(memory, "wide"));
}

TEST(RememberedTest, ACopyLivesByItself) {
  RememberedPredictions memory;
  Tell(memory, Told({"a", "b"}).command);
  const RememberedPredictions copy = memory;
  memory.Forget("a");
  memory.Forget("nobody");
  EXPECT_EQ(Order(memory), "b ");
  EXPECT_EQ(Order(copy), "a b ");
  EXPECT_TRUE(Knows(copy, "a"));
}

TEST(RememberedTest, RowsTakenOutInOrderAndPutInAgainAreTheSame) {
  RememberedPredictions memory;
  Tell(memory, Told({"a", "b", "c"}, 1, 50).command);
  memory.Forget("b");
  Tell(memory, Told({"b"}, 9, 70).command);
  RememberedPredictions loaded;
  memory.ForEach([&](const auto& row) { loaded.Insert(row); });
  EXPECT_EQ(Order(loaded), Order(memory));
  EXPECT_EQ(loaded.bytes(), memory.bytes());
  EXPECT_TRUE(Knows(loaded, "b", 69));
  EXPECT_FALSE(Knows(loaded, "a", 50));
}

}  // namespace
}  // namespace lazynorm
