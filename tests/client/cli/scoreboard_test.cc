#include "client/cli/scoreboard.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lazynorm {
namespace {

ScoredBatch Batch(int rows, double mean_loss, double mean_baseline = 0) {
  return {.rows = rows,
          .weight = static_cast<double>(rows),
          .model_loss = mean_loss * rows,
          .baseline_loss = mean_baseline * rows};
}

TEST(ScoreboardTest, LossesAreWeightedByRowsBeforeTheRootIsTaken) {
  Scoreboard scores(v1::LOSS_KIND_MSE, 0, 0);
  scores.Add(Batch(30, 4));
  scores.Add(Batch(10, 36));
  EXPECT_DOUBLE_EQ(scores.Final().model, std::sqrt(12));
}

TEST(ScoreboardTest, APeriodEndsWithTheBatchThatReachesIt) {
  Scoreboard scores(v1::LOSS_KIND_L1, 100, 0);
  EXPECT_FALSE(scores.Add(Batch(60, 1, 3)).has_value());
  const auto first = scores.Add(Batch(60, 2, 3));
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->rows, 120);
  EXPECT_DOUBLE_EQ(first->model, 1.5);
  EXPECT_DOUBLE_EQ(first->baseline, 3);
  EXPECT_FALSE(scores.Add(Batch(60, 7)).has_value());
  EXPECT_DOUBLE_EQ(scores.Add(Batch(60, 9))->model, 8);
}

TEST(ScoreboardTest, TheFirstShareOfTheRowsCanBeLeftOut) {
  Scoreboard scores(v1::LOSS_KIND_L1, 0, 0.25);
  scores.Add(Batch(10, 100, 100));
  for (int i = 0; i < 3; ++i) scores.Add(Batch(10, 1, 2));
  EXPECT_DOUBLE_EQ(scores.Final().model, 1);
  EXPECT_DOUBLE_EQ(scores.Final().baseline, 2);
}

TEST(ScoreboardTest, OnlyTheFirstEpochCountsInTheEnd) {
  Scoreboard scores(v1::LOSS_KIND_L1, 0, 0);
  scores.Add(Batch(10, 4));
  ScoredBatch again = Batch(10, 1);
  again.first_epoch = false;
  scores.Add(again);
  EXPECT_DOUBLE_EQ(scores.Final().model, 4);
  EXPECT_DOUBLE_EQ(scores.Since(10).model, 1);
}

TEST(ScoreboardTest, TheRollingLossForgetsTheFarPast) {
  Scoreboard scores(v1::LOSS_KIND_L1, 0, 0);
  scores.Add(Batch(1000, 100));
  for (int i = 0; i < 200; ++i) scores.Add(Batch(100, 1));
  EXPECT_NEAR(scores.rolling_loss(), 1, 1e-3);
}

TEST(ScoreboardTest, WithoutRowsThereIsNoScore) {
  EXPECT_TRUE(std::isnan(Scoreboard(v1::LOSS_KIND_MSE, 0, 0).Final().model));
}

}  // namespace
}  // namespace lazynorm
