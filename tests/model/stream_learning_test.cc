// Learning on a stream: replay, RUNNING statistics, targets in their own units and experts, as a
// Learner does them together.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "model/batch_norm.h"
#include "model/loss.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

BatchNormSpec Running(double momentum = 0.01) {
  return {.momentum = momentum, .training_statistics = TrainingStatistics::kRunning};
}

ModelSpec StreamSpec(const LossSpec& loss = LossSpec(), int outputs = 1) {
  ModelSpec spec = SpecOf({Running(), LinearSpec{.out_features = 8}, Running(), ActivationSpec{},
                           DropoutSpec{.p = 0.1}, LinearSpec{.out_features = outputs}},
                          AdamSpec{.lr = 0.01}, loss);
  spec.learning.clip_grad_norm = 1;
  spec.learning.normalize_targets = !IsClassification(loss.kind);
  spec.learning.experts = {{},
                           {.replay = {50, 8}},
                           {.replay = {50, 8}, .updates_per_request = 3},
                           {.updates_per_request = 2, .learning_rate = 0.03}};
  return spec;
}

Rows RowsOf(uint64_t seed, int64_t rows = 4) {
  Rows r = RegressionRows(rows, 5, 1, seed);
  for (int64_t i = 0; i < rows; ++i) r.y(i, 0) = 300 + 20 * r.y(i, 0);
  return r;
}

Rows ClassRows(uint64_t seed, int64_t rows = 4) {
  Rows r{Normal(rows, 5, seed), Matrix(), {}, {}};
  for (int64_t i = 0; i < rows; ++i) r.labels.push_back(r.x(i, 0) > 0 ? 2 : r.x(i, 1) > 0);
  return r;
}

TEST(RunningStatisticsTest, RowsOneAtATimeGiveTheStatisticsOfAllOfThem) {
  const auto learner = NewLearner(SpecOf({Running(0.001), LinearSpec{}}));
  const Matrix x = Normal(200, 3, 1, 50, 4);
  for (int i = 0; i < 200; ++i) {
    Rows row{x.row(i), Matrix::Zero(1, 1), {}, {}};
    TrainOn(*learner, row);
  }
  const std::vector<StateTensor> tensors = learner->Tensors();
  for (int c = 0; c < 3; ++c) {
    const double mean = x.col(c).cast<double>().mean();
    const double var = (x.col(c).cast<double>().array() - mean).square().mean();
    EXPECT_NEAR(Find(tensors, "0.running_mean").values[c], mean, 1e-5 * mean);
    EXPECT_NEAR(Find(tensors, "0.running_var").values[c], var, 1e-5 * var);
  }
  EXPECT_EQ(Find(tensors, "0.num_batches_tracked").int64_values[0], 200);
}

TEST(RunningStatisticsTest, TrainingNormalisesWithTheUpdatedStatisticsAsConstants) {
  const auto learner =
      NewLearner(SpecOf({Running(0.5), LinearSpec{.bias = false}}, SgdSpec{.lr = 0}));
  TrainOn(*learner, RegressionRows(6, 2, 1, 1));
  const Rows rows = RegressionRows(3, 2, 1, 2);
  const StepResult trained = TrainOn(*learner, rows);
  const StepResult after = TrainOn(*learner, rows);
  // With a rate of 0, training's loss is that of a prediction with the statistics it left behind.
  EXPECT_NEAR(trained.loss, after.prequential_loss, 1e-6);
}

TEST(RunningStatisticsTest, WhatIsFarOffIsCutInTrainingAndInPrediction) {
  // At a share of 1/200 a single far row lies sqrt(199) deviations off by its own statistics.
  const auto learner =
      NewLearner(SpecOf({Running(0.005), LinearSpec{.bias = false}}, SgdSpec{.lr = 0}));
  for (int i = 0; i < 250; ++i) TrainOn(*learner, RegressionRows(1, 1, 1, i));
  const float weight = Find(learner->Tensors(), "1.weight").values[0];
  EXPECT_FLOAT_EQ(PredictAll(*learner, Matrix::Constant(1, 1, 1e6f))(0, 0),
                  BatchNorm::kCut * weight);
  const Rows far{Matrix::Constant(1, 1, 1e9f), Matrix::Zero(1, 1), {}, {}};
  EXPECT_NEAR(TrainOn(*learner, far).loss, std::pow(10 * weight, 2), 1e-4);
}

TEST(RunningStatisticsTest, NeedsTrackedStatistics) {
  BatchNormSpec spec = Running();
  spec.track_running_stats = false;
  ExpectRefused(Learner::Create(SpecOf({spec, LinearSpec{}}), Limits()).status(), "INVALID_SPEC",
                "spec.layers[0].batch_norm.training_statistics");
}

TEST(ReplayTest, AStepSeesTheRequestsRowsAndPastOnes) {
  ModelSpec spec = SpecOf({LinearSpec{.bias = false}}, SgdSpec{.lr = 0});
  spec.learning.replay = {100, 3};
  const auto learner = NewLearner(spec);
  const Rows first{Matrix::Constant(4, 1, 2.0f), Matrix::Zero(4, 1), {}, {}};
  TrainOn(*learner, first);
  const float w = Find(learner->Tensors(), "0.weight").values[0];
  const Rows second{Matrix::Constant(1, 1, 1.0f), Matrix::Zero(1, 1), {}, {}};
  // The loss is that of the request's own row; the gradient that of it and three of the past.
  EXPECT_NEAR(TrainOn(*learner, second).loss, w * w, 1e-6);
  EXPECT_NEAR(learner->Gradients()[0].values[0], 2 * w * (1 + 3 * 4) / 4, 1e-5);
}

TEST(ReplayTest, UpdatesPerRequestAreSoManyStepsOfTheOptimizerAndOneOfTheModel) {
  ModelSpec once = SpecOf({LinearSpec{.out_features = 1}}, SgdSpec{.lr = 0.1}), thrice = once;
  thrice.learning.updates_per_request = 3;
  const auto a = NewLearner(once), b = NewLearner(thrice);
  const Rows rows = RegressionRows(8, 3, 1, 1);
  double first_loss = TrainOn(*a, rows).loss;
  TrainOn(*a, rows);
  TrainOn(*a, rows);
  EXPECT_EQ(TrainOn(*b, rows).loss, first_loss);
  EXPECT_EQ(b->step(), 1);
  EXPECT_EQ(b->rows_trained(), 8);
  ExpectSameTensors(a->Tensors(), b->Tensors());
}

TEST(TargetUnitsTest, ATargetAroundThreeHundredIsPredictedAtOnce) {
  const auto learner = NewLearner(StreamSpec());
  TrainOn(*learner, RowsOf(1));
  const Rows rows = RowsOf(2, 20);
  const Matrix y = PredictAll(*learner, rows.x);
  for (int i = 0; i < 20; ++i) EXPECT_NEAR(y(i, 0), 300, 100);
}

TEST(TargetUnitsTest, PrequentialLossIsInTheTargetsUnitsAndOfTheServedPrediction) {
  const auto learner = NewLearner(StreamSpec());
  for (int i = 0; i < 30; ++i) TrainOn(*learner, RowsOf(i));
  const Rows rows = RowsOf(99, 10);
  const Matrix served = PredictAll(*learner, rows.x);
  const double loss = LossValue({}, ViewOf(served), rows.batch());
  EXPECT_NEAR(TrainOn(*learner, rows).prequential_loss, loss, 1e-4 * loss);
}

TEST(TargetUnitsTest, ClassesHaveNone) {
  ModelSpec spec = StreamSpec({.kind = LossKind::kCrossEntropy}, 3);
  spec.learning.normalize_targets = true;
  ExpectRefused(Learner::Create(spec, Limits()).status(), "INVALID_SPEC",
                "spec.learning.normalize_targets");
}

TEST(ExpertsLearningTest, OneExpertIsTheModelWithoutExperts) {
  ModelSpec plain = SpecOf(Expand({.hidden = {8}}), AdamSpec{.lr = 0.01}), one = plain;
  plain.learning.replay = {20, 4};
  one.learning.experts = {{.replay = {20, 4}}};
  const auto a = NewLearner(plain), b = NewLearner(one);
  for (int i = 0; i < 20; ++i) {
    const Rows rows = RegressionRows(6, 4, 1, i);
    EXPECT_EQ(TrainOn(*a, rows).prequential_loss, TrainOn(*b, rows).prequential_loss);
  }
  ExpectSameTensors(a->Tensors(), b->Tensors());
}

TEST(ExpertsLearningTest, WeightsMoveToWhoPredictsBetter) {
  ModelSpec spec = SpecOf({LinearSpec{}}, SgdSpec{.lr = 0.05});
  spec.learning.experts = {{.learning_rate = 1e-9}, {}};
  const auto learner = NewLearner(spec);
  for (int i = 0; i < 200; ++i) TrainOn(*learner, RegressionRows(4, 3, 1, i));
  EXPECT_GT(learner->diagnostics().expert_weights[1], 0.9);
}

TEST(ExpertsLearningTest, ClassesLearnAndPredictProbabilities) {
  const auto learner = NewLearner(StreamSpec({.kind = LossKind::kCrossEntropy}, 3));
  for (int i = 0; i < 300; ++i) TrainOn(*learner, ClassRows(i));
  const Rows rows = ClassRows(1000, 200);
  const Matrix z = PredictAll(*learner, rows.x);
  int right = 0;
  for (int i = 0; i < 200; ++i) {
    int best = 0;
    z.row(i).maxCoeff(&best);
    right += best == rows.labels[i];
  }
  EXPECT_GT(right, 170);
}

TEST(ExpertsLearningTest, TheSameCommandsGiveTheSameBits) {
  const auto a = NewLearner(StreamSpec()), b = NewLearner(StreamSpec());
  for (int i = 0; i < 60; ++i) {
    TrainOn(*a, RowsOf(i));
    const Rows copy = RowsOf(i);  // other memory
    TrainOn(*b, copy);
  }
  ExpectSameTensors(a->Tensors(), b->Tensors());
  EXPECT_EQ(PredictAll(*a, RowsOf(7).x), PredictAll(*b, RowsOf(7).x));
}

TEST(ExpertsLearningTest, ACopyDoesWhatTheOriginalDoesAndNeitherMovesTheOther) {
  const auto learner = NewLearner(StreamSpec());
  for (int i = 0; i < 30; ++i) TrainOn(*learner, RowsOf(i));
  const std::vector<StateTensor> then = learner->Tensors();
  const auto copy = learner->Copy();
  for (int i = 30; i < 60; ++i) TrainOn(*learner, RowsOf(i));
  ExpectSameTensors(copy->Tensors(), then);
  for (int i = 30; i < 60; ++i) TrainOn(*copy, RowsOf(i));
  ExpectSameTensors(copy->Tensors(), learner->Tensors());
  EXPECT_EQ(copy->diagnostics().expert_weights, learner->diagnostics().expert_weights);
}

TEST(ExpertsLearningTest, TheStateOfAllExpertsAndOfTheTargetsIsReadBack) {
  const auto a = NewLearner(StreamSpec());
  for (int i = 0; i < 10; ++i) TrainOn(*a, RowsOf(i));
  const auto b = NewLearner(StreamSpec(), a->Tensors());
  ExpectSameTensors(a->Tensors(), b->Tensors());
  std::vector<StateTensor> less = a->Tensors();
  less.pop_back();
  ExpectRefused(Learner::Create(StreamSpec(), Limits(), less).status(), "INVALID_STATE");
}

TEST(ExpertsLearningTest, ARefusedStepLeavesNoTraceInAnyExpert) {
  const auto learner = NewLearner(StreamSpec()), other = NewLearner(StreamSpec());
  for (int i = 0; i < 20; ++i) {
    TrainOn(*learner, RowsOf(i));
    TrainOn(*other, RowsOf(i));
  }
  const std::vector<StateTensor> before = learner->Tensors();
  Rows bad = RowsOf(50);
  bad.y(0, 0) = std::numeric_limits<float>::max();
  bad.y(1, 0) = -std::numeric_limits<float>::max();
  const auto refused = learner->Apply(TrainCommand{.batch = bad.batch()});
  EXPECT_EQ(ReasonOf(refused.status()), "NON_FINITE_STEP") << refused.status();
  ExpectSameTensors(before, learner->Tensors());
  for (int i = 20; i < 40; ++i) {
    TrainOn(*learner, RowsOf(i));
    TrainOn(*other, RowsOf(i));
  }
  ExpectSameTensors(learner->Tensors(), other->Tensors());
}

TEST(ExpertsLearningTest, ExpertsCanBeAddedAndTakenAwayWhileLearning) {
  const auto learner = NewLearner(StreamSpec());
  for (int i = 0; i < 20; ++i) TrainOn(*learner, RowsOf(i));
  const size_t all = learner->Tensors().size();
  ASSERT_TRUE(learner->Apply(UpdateCommand{.experts = {{{}, {.replay = {10, 2}}}}}).ok());
  EXPECT_EQ(learner->diagnostics().expert_weights.size(), 4u);  // of the latest step
  TrainOn(*learner, RowsOf(30));
  EXPECT_EQ(learner->diagnostics().expert_weights.size(), 2u);
  EXPECT_LT(learner->Tensors().size(), all);
  ExpectRefused(learner->Apply(UpdateCommand{.normalize_targets = false}).status(),
                "INVALID_UPDATE", "learning.normalize_targets");
  ExpectRefused(learner->Apply(UpdateCommand{.replay = ReplaySpec{5, 1}}).status(),
                "INVALID_UPDATE", "learning.replay");
}

TEST(ExpertsLearningTest, OptionsThatMakeNoSenseAreRefusedByName) {
  const auto refuse = [](auto change, const std::string& field) {
    ModelSpec spec = StreamSpec();
    change(spec.learning);
    ExpectRefused(Learner::Create(spec, Limits()).status(), "INVALID_SPEC",
                  "spec.learning." + field);
  };
  refuse([](LearningSpec& l) { l.experts[1].replay.rows_per_step = 51; },
         "experts[1].replay.rows_per_step");
  refuse([](LearningSpec& l) { l.experts[0].updates_per_request = 0; },
         "experts[0].updates_per_request");
  refuse([](LearningSpec& l) { l.experts[0].learning_rate = -1; }, "experts[0].learning_rate");
  refuse([](LearningSpec& l) { l.experts.resize(17); }, "experts");
  refuse([](LearningSpec& l) { l.replay = {10, 5}; }, "replay");
  refuse([](LearningSpec& l) { l.hedge_rate = -1; }, "hedge_rate");
  refuse([](LearningSpec& l) { l.hedge_discount = 1.5; }, "hedge_discount");
}

TEST(ExpertsLearningTest, RowsKeptCountAgainstALimit) {
  Limits limits;
  limits.max_replay_values = 100 * 7 - 1;  // two experts keep 50 rows of 5 + 1 + 1 numbers
  EXPECT_EQ(ReasonOf([&] {
              const auto learner = NewLearner(StreamSpec());
              ModelSpec spec = StreamSpec();
              spec.in_features = 5;
              return Learner::Create(spec, limits).status();
            }()),
            "LIMIT_EXCEEDED");
}

TEST(StreamLearningTest, LabelsAndTargetsMayTakeTurns) {
  ModelSpec spec = SpecOf({LinearSpec{}}, AdamSpec(), {.kind = LossKind::kBceWithLogits});
  spec.learning.replay = {.capacity = 8, .rows_per_step = 4};
  const auto mixed = NewLearner(spec), with_targets = NewLearner(spec);
  for (int step = 0; step < 10; ++step) {
    Rows rows{Normal(4, 3, step), Matrix(4, 1), {}, {}};
    rows.y << 1, 0, 0, 1;
    TrainOn(*with_targets, rows);
    if (step % 3 != 1) {
      rows.labels = {1, 0, 0, 1};
      rows.y.resize(0, 0);
    }
    TrainOn(*mixed, rows);
  }
  ExpectSameTensors(mixed->Tensors(), with_targets->Tensors());
}

}  // namespace
}  // namespace lazynorm
