// "lazynorm train" as a process.
#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "tests/client/cli/command_fixture.h"

namespace lazynorm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TrainCommandTest : public CommandTest {};

TEST_F(TrainCommandTest, TrainSendsTheRowsInBatchesAndReportsTheError) {
  server_.AddModel("m");
  // The server's model predicts a + b: its errors are 1, 1 and 2.
  const std::string file = File("t.csv", "a,y,b\n1,4,2\n2,4,3\n1,0,1\n");
  const Outcome outcome = Run("train m " + file + " --target y --batch 1 --output json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto summary = ParseJson(outcome.out);
  EXPECT_EQ(NumberIn(summary, "rows"), 3);
  EXPECT_EQ(NumberIn(summary, "steps"), 3);
  EXPECT_NEAR(NumberIn(summary, "model_error"), std::sqrt((1 + 1 + 4) / 3.0), 1e-9);
  ASSERT_EQ(state().trained.size(), 3u);
  EXPECT_THAT(state().trained[1].features().values(), ElementsAre(2, 3));
  EXPECT_THAT(state().trained[1].targets().values(), ElementsAre(4));
}

TEST_F(TrainCommandTest, ALastSingleRowJoinsTheBatchBeforeIt) {
  server_.AddModel("m");
  std::string text = "a,y\n";
  for (int i = 0; i < 9; ++i) text += "1,1\n";
  ASSERT_EQ(Run("train m " + File("t.csv", text) + " --target y --batch 4").code, 0);
  ASSERT_EQ(state().trained.size(), 2u);
  EXPECT_EQ(state().trained[0].features().rows(), 4);
  EXPECT_EQ(state().trained[1].features().rows(), 5);
}

TEST_F(TrainCommandTest, TrainReadsTheStandardInput) {
  server_.AddModel("m");
  EXPECT_EQ(Run("train m - --target y", "printf 'a,y\\n1,2\\n3,4\\n' |").code, 0);
  ASSERT_EQ(state().trained.size(), 1u);
  EXPECT_THAT(state().trained[0].features().values(), ElementsAre(1, 3));
}

TEST_F(TrainCommandTest, TheStandardInputCannotBeReadTwice) {
  server_.AddModel("m");
  const Outcome outcome = Run("train m - --target y --one-hot k", "printf 'k,y\\na,2\\n' |");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("standard input cannot be read twice"));
  EXPECT_EQ(Run("train m - --target y --epochs 2").code, 2);
}

TEST_F(TrainCommandTest, TrainFollowsTheModelsFeatureNames) {
  server_.AddModel("m", {"b", "k=x", "a", "k=z"});
  const std::string file = File("t.csv", "k,a,y,b\nx,1,5,2\nother,3,5,4\n");
  ASSERT_EQ(Run("train m " + file + " --target y --one-hot k").code, 0);
  EXPECT_THAT(state().trained[0].features().values(), ElementsAre(2, 1, 1, 0, 4, 0, 3, 0));
}

TEST_F(TrainCommandTest, TrainAheadPairsEachRowWithALaterTarget) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "y\n1\n2\n3\n5\n");
  const Outcome outcome =
      Run("train m " + file + " --target y --ahead 1 --shadow-baseline persistence --output json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(state().trained[0].features().values(), ElementsAre(1, 2, 3));
  EXPECT_THAT(state().trained[0].targets().values(), ElementsAre(2, 3, 5));
  // The server's model is persistence itself here.
  const auto summary = ParseJson(outcome.out);
  EXPECT_NEAR(NumberIn(summary, "baseline_error"), std::sqrt(2), 1e-9);
  EXPECT_NEAR(NumberIn(summary, "ratio"), 1, 1e-9);
}

TEST_F(TrainCommandTest, TrainReportsPeriodsWithTheirDates) {
  server_.AddModel("m");
  const std::string file =
      File("t.csv", "day,y\n2024-01-01,1\n2024-01-02,1\n2024-01-03,1\n2024-01-04,1\n");
  const std::string line =
      "train m " + file +
      " --target y --date day --batch 2 --report-every 2 --shadow-baseline mean";
  const Outcome table = Run(line);
  EXPECT_THAT(table.out, HasSubstr("root mean squared error in each period:\n"));
  EXPECT_THAT(table.out, HasSubstr("2024-01-02"));
  const auto summary = ParseJson(Run(line + " --output json").out);
  const auto& periods = summary.fields().at("periods").list_value();
  ASSERT_EQ(periods.values_size(), 2);
  EXPECT_EQ(periods.values(1).struct_value().fields().at("date").string_value(), "2024-01-04");
  EXPECT_EQ(NumberIn(periods.values(1).struct_value(), "baseline_error"), 0);
}

TEST_F(TrainCommandTest, TrainSendsLabelsForCrossEntropyByName) {
  v1::Model& model = server_.AddModel("m");
  model.mutable_spec()->mutable_loss()->set_kind(v1::LOSS_KIND_CROSS_ENTROPY);
  for (const char* name : {"sun", "rain"}) model.mutable_spec()->add_class_names(name);
  model.set_out_features(2);
  const Outcome outcome = Run("train m " + File("t.csv", "x,y\n1,rain\n2,sun\n") + " --target y");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(state().trained[0].labels(), ElementsAre(1, 0));
  EXPECT_FALSE(state().trained[0].has_targets());
  EXPECT_THAT(Run("train m " + File("u.csv", "x,y\n1,hail\n") + " --target y").err,
              HasSubstr("u.csv:2: column y: \"hail\" is not a class of the model"));
}

TEST_F(TrainCommandTest, TrainSendsWeightsAndFreezesOnDemand) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "x,y,w\n1,1,0.5\n2,2,2\n");
  ASSERT_EQ(Run("train m " + file + " --target y --weight w --freeze-statistics").code, 0);
  EXPECT_THAT(state().trained[0].sample_weights(), ElementsAre(0.5, 2));
  EXPECT_THAT(state().trained[0].features().values(), ElementsAre(1, 2));
  EXPECT_EQ(state().trained[0].statistics(), v1::STATISTICS_MODE_FREEZE);
}

TEST_F(TrainCommandTest, TrainCreatesTheModelWhenAskedTo) {
  const std::string file = File("t.csv", "a,k,y\n1,p,1\n2,q,2\n");
  EXPECT_EQ(Run("train m " + file + " --target y --one-hot k").code, 4);
  const std::string line = "train m " + file + " --target y --one-hot k --create --hidden 8";
  ASSERT_EQ(Run(line).code, 0);
  EXPECT_THAT(state().models["m"].spec().feature_names(), ElementsAre("a", "k=p", "k=q"));
  const Outcome again = Run(line);
  EXPECT_EQ(again.code, 0) << "the model that is there is used";
  EXPECT_THAT(again.err, HasSubstr("note: model m is there already; --hidden is not used"));
  EXPECT_THAT(Run("train m " + file + " --target y --lr 3").err, HasSubstr("add --create"));
}

TEST_F(TrainCommandTest, ATableWithoutRowsIsCode2) {
  server_.AddModel("m");
  const Outcome outcome = Run("train m - --target y --output json", "echo a,y |");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "error: stdin: no rows to learn from\n");
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(Run("train m " + File("t.csv", "y\n1\n") + " --target y --ahead 1").code, 2);
}

TEST_F(TrainCommandTest, ATableThatCannotBeReadLeavesNoNewModelBehind) {
  const std::string bad = " --target y --create";
  EXPECT_EQ(Run("train m " + File("t.csv", "a,y\nhigh,1\n") + bad).code, 2);
  EXPECT_EQ(Run("train m " + File("u.csv", "a,y\n") + bad).code, 2);
  EXPECT_EQ(state().models.count("m"), 0u);
  // What was learned stays, and so does a model that was there.
  EXPECT_EQ(
      Run("train m " + File("v.csv", "a,y\n1,1\n2,2\n3,3\n4,4\nhigh,1\n") + bad + " --batch 2")
          .code,
      2);
  EXPECT_EQ(state().models.count("m"), 1u);
  server_.AddModel("n");
  EXPECT_EQ(Run("train n " + File("w.csv", "a,y\nhigh,1\n") + bad).code, 2);
  EXPECT_EQ(state().models.count("n"), 1u);
}

TEST_F(TrainCommandTest, EpochsPassOverTheFileAndTheFirstIsScored) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "a,y\n1,2\n3,4\n");
  const auto summary =
      ParseJson(Run("train m " + file + " --target y --epochs 3 --output json").out);
  EXPECT_EQ(NumberIn(summary, "rows"), 6);
  EXPECT_EQ(NumberIn(summary, "steps"), 3);
  EXPECT_EQ(NumberIn(summary, "model_error"), 1);
}

TEST_F(TrainCommandTest, TrainSurvivesABrokenConnection) {
  server_.AddModel("m");
  state().stream_breaks = {3, 2};
  std::string text = "a,y\n";
  for (int i = 0; i < 50; ++i) text += std::to_string(i) + ",0\n";
  const Outcome outcome = Run("train m " + File("t.csv", text) + " --target y --batch 1");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(state().trained.size(), 50u);
}

TEST_F(TrainCommandTest, TargetsMustFitTheModel) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "a,b,c\n1,2,3\n");
  EXPECT_THAT(Run("train m " + file).err, HasSubstr("--target COLUMN is required"));
  EXPECT_THAT(Run("train m " + file + " --target a,b").err, HasSubstr("takes 1 column, got 2"));
}

TEST_F(TrainCommandTest, ABaselineMustFitTheLoss) {
  server_.AddModel("m");
  const Outcome outcome =
      Run("train m " + File("t.csv", "a,y\n1,2\n") + " --target y --shadow-baseline majority");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("persistence or mean"));
  EXPECT_EQ(state().trained.size(), 0u);
}

TEST_F(TrainCommandTest, WhereTheBaselineDoesNotFitNothingIsCreated) {
  const Outcome outcome = Run("train m " + File("t.csv", "a,y\n1,2\n") +
                              " --target y --create --shadow-baseline majority");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("persistence or mean"));
  EXPECT_EQ(state().models.count("m"), 0u);
}

TEST_F(TrainCommandTest, TrainTakesIdsAndTargetsAlone) {
  // The features that the model names need not be there, and others are not looked at.
  server_.AddModel("m", {"wind", "rain"});
  const Outcome outcome = Run("train m " + File("t.csv", "order,note,y,w\nx,late,1,2\ny,,2,1\n") +
                              " --prediction-id order --target y --weight w");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("root mean squared error, as predicted when asked"));
  ASSERT_EQ(state().trained.size(), 1u);
  const v1::TrainRequest& request = state().trained[0];
  EXPECT_THAT(request.prediction_ids(), ElementsAre("x", "y"));
  EXPECT_FALSE(request.has_features());
  EXPECT_THAT(request.targets().values(), ElementsAre(1, 2));
  EXPECT_THAT(request.sample_weights(), ElementsAre(2, 1));
}

TEST_F(TrainCommandTest, WhatDescribesFeaturesDoesNotGoWithPredictionIds) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "order,y\nx,1\ny,2\n");
  for (const std::string other :
       {"--create", "--epochs 2", "--ahead 1", "--one-hot y", "--date y"}) {
    const Outcome outcome = Run("train m " + file + " --prediction-id order --target y " + other);
    EXPECT_EQ(outcome.code, 2) << other;
    EXPECT_THAT(outcome.err, HasSubstr(": does not go with --prediction-id")) << other;
  }
  EXPECT_EQ(Run("train m " + file + " --prediction-id id --target y").code, 2);
  EXPECT_EQ(state().trained.size(), 0u);
}

}  // namespace
}  // namespace lazynorm
