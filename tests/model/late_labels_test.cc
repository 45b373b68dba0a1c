// Labels that come later: a learner that remembers what it was asked.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/loss.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

constexpr int64_t kHour = 3'600'000'000;

ModelSpec Plain() {
  return SpecOf({BatchNormSpec{}, LinearSpec{.out_features = 4},
                 ActivationSpec{.kind = ActivationKind::kTanh}, LinearSpec{.out_features = 2}});
}

ModelSpec WithExperts() {
  ModelSpec spec = Plain();
  spec.learning.normalize_targets = true;
  spec.learning.experts = {{}, {.replay = {.capacity = 8, .rows_per_step = 4}}};
  return spec;
}

std::vector<std::string> Names(const std::string& prefix, int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(prefix + std::to_string(i));
  return names;
}

// Predicts the rows as a server would, and has the learner remember them. Returns what was served.
Matrix Ask(Learner& learner, const Rows& rows, const std::vector<std::string>& ids,
           int64_t now = 0) {
  if (learner.lazy()) {
    EXPECT_TRUE(learner.Apply(ResolveCommand{static_cast<int>(rows.x.cols())}).ok());
  }
  Matrix y = PredictAll(learner, rows.x);
  const auto told = learner.Apply(RememberCommand{.ids = {ids.begin(), ids.end()},
                                                  .features = ViewOf(rows.x),
                                                  .predictions = ViewOf(std::as_const(y)),
                                                  .now = now,
                                                  .expires = now + kHour,
                                                  .max_rows = 1000,
                                                  .max_bytes = 1 << 20});
  EXPECT_TRUE(told.ok()) << told.status();
  return y;
}

// The command that brings the labels of such rows.
TrainCommand Labels(const Rows& rows, const std::vector<std::string>& ids, int64_t now = 0) {
  Batch batch = rows.batch();
  batch.features = {};
  return {.batch = batch, .request_id = {}, .prediction_ids = {ids.begin(), ids.end()}, .now = now};
}

double LossOf(const Matrix& served, const Rows& rows) {
  return LossValue(LossSpec(), ViewOf(served), rows.batch());
}

TEST(LateLabelsTest, AStepIsTheSameAsWithTheFeaturesThemselves) {
  for (const ModelSpec& spec : {Plain(), WithExperts()}) {
    const auto asked = NewLearner(spec), told = NewLearner(spec);
    for (int i = 0; i < 5; ++i) {
      const Rows rows = RegressionRows(6, 3, 2, i);
      Ask(*asked, rows, Names("id", 6));
      const auto late = asked->Apply(Labels(rows, Names("id", 6)));
      ASSERT_TRUE(late.ok()) << late.status();
      const StepResult at_once = TrainOn(*told, rows);
      EXPECT_EQ(late->loss, at_once.loss);
      EXPECT_NEAR(late->prequential_loss, at_once.prequential_loss,
                  1e-5 * at_once.prequential_loss);
      EXPECT_EQ(late->step, at_once.step);
    }
    ExpectSameTensors(asked->Tensors(), told->Tensors());
    EXPECT_EQ(asked->rows_trained(), 30);
    EXPECT_EQ(asked->remembered().size(), 0);
  }
}

TEST(LateLabelsTest, ThePrequentialLossIsThatOfThePredictionServed) {
  for (const ModelSpec& spec : {Plain(), WithExperts()}) {
    const auto learner = NewLearner(spec);
    const Rows rows = RegressionRows(6, 3, 2, 1);
    TrainOn(*learner, RegressionRows(8, 3, 2, 2));
    const Matrix served = Ask(*learner, rows, Names("id", 6));
    for (int i = 0; i < 30; ++i) TrainOn(*learner, RegressionRows(8, 3, 2, 10 + i));
    const double now = LossOf(PredictAll(*learner, rows.x), rows);
    const auto late = learner->Apply(Labels(rows, Names("id", 6)));
    ASSERT_TRUE(late.ok()) << late.status();
    EXPECT_DOUBLE_EQ(late->prequential_loss, LossOf(served, rows));
    EXPECT_GT(std::abs(late->prequential_loss - now), 0.01 * now);
  }
}

TEST(LateLabelsTest, LabelsMayComeInAnotherOrderAndInParts) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  const Matrix served = Ask(*learner, rows, {"a", "b", "c", "d"});
  Rows part{Matrix(2, 3), Matrix(2, 2), {}, {}};
  part.y << rows.y.row(3), rows.y.row(1);
  Matrix told(2, 2);
  told << served.row(3), served.row(1);
  const auto late = learner->Apply(Labels(part, {"d", "b"}));
  ASSERT_TRUE(late.ok()) << late.status();
  EXPECT_DOUBLE_EQ(late->prequential_loss, LossOf(told, part));
  EXPECT_EQ(learner->remembered().size(), 2);
}

TEST(LateLabelsTest, WhatWasTrainedIsForgotten) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  Ask(*learner, rows, Names("id", 4));
  ASSERT_TRUE(learner->Apply(Labels(rows, Names("id", 4))).ok());
  const auto again = learner->Apply(Labels(rows, Names("id", 4)));
  EXPECT_EQ(again.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(again.status()), "UNKNOWN_PREDICTION_ID");
  EXPECT_EQ(learner->step(), 1);
}

TEST(LateLabelsTest, ARefusedStepLeavesEverythingAsItWas) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  Ask(*learner, rows, Names("id", 4));
  const auto before = learner->Tensors();
  Rows bad = rows;
  bad.y.setConstant(std::numeric_limits<float>::max());  // its square is not finite
  EXPECT_EQ(ReasonOf(learner->Apply(Labels(bad, Names("id", 4))).status()), "NON_FINITE_STEP");
  ExpectRefused(learner->Apply(Labels(RegressionRows(3, 3, 2, 1), Names("id", 4))).status(),
                "SHAPE_MISMATCH");
  ExpectRefused(learner->Apply(Labels(RegressionRows(1, 3, 2, 1), Names("id", 1))).status(),
                "TOO_FEW_ROWS");
  EXPECT_EQ(ReasonOf(learner->Apply(Labels(rows, Names("no", 4))).status()),
            "UNKNOWN_PREDICTION_ID");
  EXPECT_EQ(learner->remembered().size(), 4);
  ExpectSameTensors(learner->Tensors(), before);
  EXPECT_TRUE(learner->Apply(Labels(rows, Names("id", 4))).ok());
}

TEST(LateLabelsTest, LabelsThatComeTooLateAreRefused) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  Ask(*learner, rows, Names("id", 4), 1000);
  const auto late = learner->Apply(Labels(rows, Names("id", 4), 1000 + kHour));
  EXPECT_EQ(ReasonOf(late.status()), "UNKNOWN_PREDICTION_ID");
  EXPECT_EQ(learner->remembered().size(), 4);  // a refused command changes nothing
  EXPECT_TRUE(learner->Apply(Labels(rows, Names("id", 4), 999 + kHour)).ok());
}

TEST(LateLabelsTest, AnAcceptedStepForgetsWhatHasExpired) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  Ask(*learner, rows, Names("old", 4), 0);
  Ask(*learner, rows, Names("new", 4), kHour);
  ASSERT_TRUE(learner->Apply(Labels(rows, Names("new", 4), kHour)).ok());
  EXPECT_EQ(learner->remembered().size(), 0);
}

TEST(LateLabelsTest, ARepeatedRequestIsAnsweredThoughItsIdsAreForgotten) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  const std::vector<std::string> ids = Names("id", 4), others = Names("other", 4);
  Ask(*learner, rows, ids);
  Ask(*learner, rows, others);
  TrainCommand command = Labels(rows, ids);
  command.request_id = "r";
  const auto first = learner->Apply(command);
  ASSERT_TRUE(first.ok()) << first.status();
  command.now = 5 * kHour;  // a retry comes later
  const auto again = learner->Apply(command);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(again->prequential_loss, first->prequential_loss);
  TrainCommand other = Labels(rows, others);
  other.request_id = "r";
  ExpectRefused(learner->Apply(other).status(), "REQUEST_ID_REUSED", "request_id");
  EXPECT_EQ(learner->step(), 1);
  EXPECT_EQ(learner->remembered().size(), 4);
}

TEST(LateLabelsTest, OtherChangesForgetNothing) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  Ask(*learner, rows, Names("id", 4));
  ASSERT_TRUE(learner->Apply(FreezeStatisticsCommand{true}).ok());
  UpdateCommand update;
  update.learning_rate = 0.5;
  update.experts = std::vector<ExpertSpec>{{}, {}};
  ASSERT_TRUE(learner->Apply(update).ok());
  EXPECT_EQ(learner->remembered().size(), 4);
  EXPECT_TRUE(learner->Apply(Labels(rows, Names("id", 4))).ok());
}

TEST(LateLabelsTest, ACopyRemembersByItself) {
  const auto learner = NewLearner(Plain());
  const Rows rows = RegressionRows(4, 3, 2, 1);
  Ask(*learner, rows, Names("id", 4));
  const auto copy = learner->Copy();
  ASSERT_TRUE(learner->Apply(Labels(rows, Names("id", 4))).ok());
  EXPECT_EQ(learner->remembered().size(), 0);
  EXPECT_EQ(copy->remembered().size(), 4);
  ASSERT_TRUE(copy->Apply(Labels(rows, Names("id", 4))).ok());
  ExpectSameTensors(copy->Tensors(), learner->Tensors());
}

TEST(LateLabelsTest, RowsOfAnotherWidthAreNotRemembered) {
  const auto learner = NewLearner(Plain());
  TrainOn(*learner, RegressionRows(4, 3, 2, 1));
  const Matrix wide = Normal(1, 5, 1), y = Normal(1, 2, 1);
  ExpectRefused(learner
                    ->Apply(RememberCommand{.ids = {"a"},
                                            .features = ViewOf(wide),
                                            .predictions = ViewOf(y),
                                            .expires = 1,
                                            .max_rows = 1,
                                            .max_bytes = 1000})
                    .status(),
                "WIDTH_MISMATCH", "features");
}

TEST(LateLabelsTest, PredictionsOfAnotherWidthAreNotRemembered) {
  const auto learner = NewLearner(Plain());
  const Matrix x = Normal(1, 3, 1), y = Normal(1, 1, 2);
  ExpectRefused(learner
                    ->Apply(RememberCommand{.ids = {"a"},
                                            .features = ViewOf(x),
                                            .predictions = ViewOf(y),
                                            .expires = kHour,
                                            .max_rows = 1,
                                            .max_bytes = 1000})
                    .status(),
                "SHAPE_MISMATCH", "predictions.columns");
}

TEST(LateLabelsTest, TheSameCommandsGiveTheSameStateAndMemory) {
  const auto run = [](Learner& learner) {
    std::string kept;
    for (int i = 0; i < 20; ++i) {
      const Rows rows = RegressionRows(4, 3, 2, i);
      const std::vector<std::string> ids = Names(std::to_string(i % 7) + "-", 4);
      Ask(learner, rows, ids, i * kHour / 4);
      if (i % 3 == 0) TrainOn(learner, RegressionRows(5, 3, 2, 100 + i));
      const std::vector<std::string> due = Names(std::to_string((i + 4) % 7) + "-", 4);
      learner.Apply(Labels(rows, due, i * kHour / 4)).status().IgnoreError();
    }
    learner.remembered().ForEach([&](const auto& row) { kept += row.id + " "; });
    return kept;
  };
  const auto a = NewLearner(WithExperts()), b = NewLearner(WithExperts());
  const std::string kept = run(*a);
  EXPECT_FALSE(kept.empty());
  EXPECT_EQ(kept, run(*b));
  EXPECT_GT(a->step(), 7);
  ExpectSameTensors(a->Tensors(), b->Tensors());
}

}  // namespace
}  // namespace lazynorm
