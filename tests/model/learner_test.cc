#include "model/learner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

// Two batch norms, one of them cumulative, and dropout: everything that draws or remembers.
ModelSpec Deep(const OptimizerSpec& optimizer = AdamSpec{.lr = 0.01}) {
  return SpecOf({BatchNormSpec{.cumulative = true}, LinearSpec{.out_features = 8}, BatchNormSpec{},
                 ActivationSpec{}, DropoutSpec{.p = 0.2}, LinearSpec{.out_features = 1}},
                optimizer);
}

// Without anything that needs a second row.
ModelSpec Plain(const OptimizerSpec& optimizer = AdamSpec{}) {
  return SpecOf({LinearSpec{.out_features = 4}, ActivationSpec{.kind = ActivationKind::kTanh},
                 LinearSpec{.out_features = 1}},
                optimizer);
}

Rows Data(uint64_t seed, int64_t rows = 12) {
  return RegressionRows(rows, 5, 1, seed);
}

TEST(LearnerTest, IsLazyUntilAnyCommandOrSpecSaysTheWidth) {
  const auto lazy = NewLearner(Deep());
  EXPECT_TRUE(lazy->lazy());
  EXPECT_EQ(lazy->MakePlan(), nullptr);
  EXPECT_TRUE(lazy->Tensors().empty());
  EXPECT_EQ(lazy->in_features(), 0);
  EXPECT_EQ(lazy->out_features(), 1);
  EXPECT_EQ(lazy->parameter_count(), 0);

  const auto trained = NewLearner(Deep());
  TrainOn(*trained, Data(1));
  EXPECT_EQ(trained->in_features(), 5);

  const auto resolved = NewLearner(Deep());
  ASSERT_TRUE(resolved->Apply(ResolveCommand{5}).ok());
  EXPECT_FALSE(resolved->lazy());
  EXPECT_EQ(resolved->step(), 0);
  EXPECT_EQ(resolved->parameter_count(), ParameterCount(resolved->spec(), 5));

  ModelSpec wide = Deep();
  wide.in_features = 5;
  ExpectSameTensors(NewLearner(wide)->Tensors(), resolved->Tensors());
  ExpectSameTensors(NewLearner(Deep(), resolved->Tensors())->Tensors(), resolved->Tensors());
}

TEST(LearnerTest, ResolvingTwiceIsNothingOrAnErrorNamingBothWidths) {
  const auto learner = NewLearner(Deep());
  ASSERT_TRUE(learner->Apply(ResolveCommand{5}).ok());
  ASSERT_TRUE(learner->Apply(ResolveCommand{5}).ok());
  const absl::Status status = learner->Apply(ResolveCommand{6}).status();
  ExpectRefused(status, "WIDTH_MISMATCH", "features");
  EXPECT_NE(status.message().find("expected 5 columns, got 6"), absl::string_view::npos);
  ExpectRefused(NewLearner(Deep())->Apply(ResolveCommand{0}).status(), "WIDTH_MISMATCH");
}

TEST(LearnerTest, ALazyModelRefusesMoreThanItsLimits) {
  const Limits narrow{.max_width = 8}, small{.max_parameters = 60};
  const Rows rows = RegressionRows(4, 9, 1, 1);
  for (const Limits& limits : {narrow, small}) {
    const auto learner = Learner::Create(Deep(), limits);
    ASSERT_TRUE(learner.ok()) << learner.status();
    ExpectRefused((*learner)->Apply(TrainCommand{.batch = rows.batch()}).status(),
                  "LIMIT_EXCEEDED");
    EXPECT_TRUE((*learner)->lazy());
  }
}

TEST(LearnerTest, ARefusedFirstStepLeavesTheModelLazyWithoutATrace) {
  const auto refused = NewLearner(Deep()), fresh = NewLearner(Deep());
  Rows huge = Data(1);
  huge.y.setConstant(std::numeric_limits<float>::max());
  const auto status = refused->Apply(TrainCommand{.batch = huge.batch(), .request_id = "a"});
  EXPECT_EQ(status.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(status.status()), "NON_FINITE_STEP");
  ExpectRefused(refused->Apply(TrainCommand{.batch = Data(1, 1).batch()}).status(), "TOO_FEW_ROWS",
                "features");
  EXPECT_TRUE(refused->lazy());
  EXPECT_EQ(refused->step(), 0);
  EXPECT_TRUE(refused->Gradients().empty());
  const Rows wider = RegressionRows(6, 7, 1, 2);
  for (Learner* learner : {refused.get(), fresh.get()}) TrainOn(*learner, wider);
  ExpectSameTensors(refused->Tensors(), fresh->Tensors());
}

// A step that must be refused as not finite, then the same course as a learner that never saw it.
void ExpectUndone(const ModelSpec& spec, const Rows& bad, double lr = 0.01) {
  const auto learner = NewLearner(spec), other = NewLearner(spec);
  for (uint64_t t = 0; t < 3; ++t) TrainOn(*learner, Data(t)), TrainOn(*other, Data(t));
  ASSERT_TRUE(learner->Apply(UpdateCommand{.learning_rate = lr}).ok());
  const auto result = learner->Apply(TrainCommand{.batch = bad.batch(), .request_id = "bad"});
  ASSERT_EQ(ReasonOf(result.status()), "NON_FINITE_STEP") << result.status();
  ASSERT_TRUE(learner->Apply(UpdateCommand{.learning_rate = 0.01}).ok());
  EXPECT_EQ(learner->step(), 3);
  EXPECT_EQ(learner->rows_trained(), 36);
  EXPECT_EQ(learner->diagnostics().gradient_norm, other->diagnostics().gradient_norm);
  EXPECT_EQ(learner->diagnostics().batch_norm_shift, other->diagnostics().batch_norm_shift);
  EXPECT_EQ(learner->drift().state(), other->drift().state());
  ExpectSameTensors(learner->Tensors(), other->Tensors());
  for (uint64_t t = 3; t < 6; ++t) {
    EXPECT_EQ(TrainOn(*learner, Data(t)).loss, TrainOn(*other, Data(t)).loss);
  }
  ExpectSameTensors(learner->Tensors(), other->Tensors());
  EXPECT_EQ(PredictAll(*learner, Data(9).x), PredictAll(*other, Data(9).x));
}

TEST(LearnerTest, ARateThatOverflowsTheParametersLeavesEveryByteAlone) {
  for (const OptimizerSpec& optimizer :
       {OptimizerSpec(AdamSpec{.lr = 0.01}), OptimizerSpec(SgdSpec{.lr = 0.01, .momentum = 0.9}),
        OptimizerSpec(RmsPropSpec{.lr = 0.01}), OptimizerSpec(AdagradSpec{.lr = 0.01})}) {
    ExpectUndone(Deep(optimizer), Data(7), 1e300);
  }
}

TEST(LearnerTest, TargetsThatOverflowTheMomentsLeaveEveryByteAlone) {
  Rows targets = Data(7);
  targets.y *= 1e38f;
  for (const OptimizerSpec& optimizer :
       {OptimizerSpec(AdamSpec{.lr = 0.01}), OptimizerSpec(RmsPropSpec{.lr = 0.01}),
        OptimizerSpec(AdagradSpec{.lr = 0.01})}) {
    ExpectUndone(Deep(optimizer), targets);
    ExpectUndone(Plain(optimizer), targets);
  }
}

// Behind a Linear the features overflow before a batch norm sees them; ReLU must not hide it.
TEST(LearnerTest, FeaturesThatOverflowALinearLeaveEveryByteAlone) {
  Rows features = Data(7);
  features.x = features.x.array().sign() * 3.4e38f;
  ExpectUndone(SpecOf({LinearSpec{.out_features = 60}, BatchNormSpec{}, ActivationSpec{},
                       LinearSpec{.out_features = 1}},
                      AdamSpec{.lr = 0.01}),
               features);
}

TEST(LearnerTest, FrozenStatisticsStayWhileWeightsLearn) {
  const auto learner = NewLearner(Deep());
  TrainOn(*learner, Data(1));
  const auto before = learner->Tensors();
  ASSERT_TRUE(learner->Apply(FreezeStatisticsCommand{true}).ok());
  EXPECT_TRUE(learner->statistics_frozen());
  TrainOn(*learner, Data(2));
  TrainOn(*learner, Data(3, 1));  // one row is enough now
  for (const StateTensor& tensor : learner->Tensors()) {
    const StateTensor& old = Find(before, tensor.name);
    const bool statistic = tensor.name.find("running") != std::string::npos ||
                           tensor.name.find("tracked") != std::string::npos;
    EXPECT_EQ(tensor.values == old.values && tensor.int64_values == old.int64_values, statistic)
        << tensor.name;
  }
  ASSERT_TRUE(learner->Apply(FreezeStatisticsCommand{false}).ok());
  TrainOn(*learner, Data(4));
  EXPECT_EQ(Find(learner->Tensors(), "2.num_batches_tracked").int64_values[0], 2);
  EXPECT_NE(Find(learner->Tensors(), "2.running_mean").values,
            Find(before, "2.running_mean").values);
}

TEST(LearnerTest, ARequestMayFreezeByItself) {
  const auto by_request = NewLearner(Deep()), by_model = NewLearner(Deep());
  for (Learner* l : {by_request.get(), by_model.get()}) TrainOn(*l, Data(1));
  const Rows rows = Data(2);
  ASSERT_TRUE(
      by_request->Apply(TrainCommand{.batch = rows.batch(), .freeze_statistics = true}).ok());
  ASSERT_TRUE(by_model->Apply(FreezeStatisticsCommand{true}).ok());
  TrainOn(*by_model, rows);
  ExpectSameTensors(by_request->Tensors(), by_model->Tensors());
  EXPECT_FALSE(by_request->statistics_frozen());
}

TEST(LearnerTest, ALazyModelMayBeFrozen) {
  const auto learner = NewLearner(Deep());
  ASSERT_TRUE(learner->Apply(FreezeStatisticsCommand{true}).ok());
  EXPECT_TRUE(learner->lazy());
  TrainOn(*learner, Data(1, 1));
  EXPECT_EQ(Find(learner->Tensors(), "0.num_batches_tracked").int64_values[0], 0);
}

TEST(LearnerTest, ARepeatedRequestIsAnsweredAgainAndNotLearnedAgain) {
  const auto learner = NewLearner(Deep());
  const Rows a = Data(1), b = Data(2);
  const auto first = learner->Apply(TrainCommand{.batch = a.batch(), .request_id = "a"});
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(first->replayed);
  TrainOn(*learner, b);
  const auto before = learner->Tensors();
  const auto again = learner->Apply(TrainCommand{.batch = a.batch(), .request_id = "a"});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(again->step, 1);
  EXPECT_EQ(again->loss, first->loss);
  EXPECT_EQ(again->prequential_loss, first->prequential_loss);
  EXPECT_EQ(learner->step(), 2);
  ExpectRefused(learner->Apply(TrainCommand{.batch = b.batch(), .request_id = "a"}).status(),
                "REQUEST_ID_REUSED", "request_id");
  ExpectRefused(
      learner->Apply(TrainCommand{.batch = a.batch(), .request_id = "a", .freeze_statistics = true})
          .status(),
      "REQUEST_ID_REUSED");
  ExpectSameTensors(learner->Tensors(), before);
}

TEST(LearnerTest, ARefusedRequestDoesNotUseItsIdUp) {
  const auto learner = NewLearner(Deep());
  const Rows one = Data(1, 1), good = Data(1);
  Rows huge = Data(1);
  huge.y *= 1e38f;
  EXPECT_FALSE(learner->Apply(TrainCommand{.batch = one.batch(), .request_id = "a"}).ok());
  EXPECT_FALSE(learner->Apply(TrainCommand{.batch = huge.batch(), .request_id = "a"}).ok());
  const auto result = learner->Apply(TrainCommand{.batch = good.batch(), .request_id = "a"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->replayed);
}

TEST(LearnerTest, TheLatest4096RequestsAreRemembered) {
  const auto learner = NewLearner(Plain(SgdSpec{.lr = 1e-6}));
  const Rows rows = Data(1, 1);
  const auto train = [&](int i) {
    const std::string id = "request-" + std::to_string(i);
    return learner->Apply(TrainCommand{.batch = rows.batch(), .request_id = id})->replayed;
  };
  for (int i = 0; i < 4097; ++i) EXPECT_FALSE(train(i));
  EXPECT_TRUE(train(1));
  EXPECT_TRUE(train(4096));
  EXPECT_FALSE(train(0));
}

TEST(LearnerTest, AnotherLearningRateKeepsTheMoments) {
  const auto learner = NewLearner(Plain(SgdSpec{.lr = 0.1, .momentum = 0.9}));
  TrainOn(*learner, Data(1));
  const auto before = Find(learner->Tensors(), "2.bias").values;
  const auto buffer = Find(learner->Gradients(), "2.bias").values;
  ASSERT_TRUE(learner->Apply(UpdateCommand{.learning_rate = 0.01}).ok());
  EXPECT_EQ(LearningRate(learner->spec().optimizer), 0.01);
  TrainOn(*learner, Data(2));
  const float gradient = Find(learner->Gradients(), "2.bias").values[0];
  EXPECT_NEAR(Find(learner->Tensors(), "2.bias").values[0],
              before[0] - 0.01 * (0.9 * buffer[0] + gradient), 1e-6);
}

TEST(LearnerTest, UpdateChangesWhatItNamesAndRefusesNonsense) {
  const auto learner = NewLearner(Plain());
  ASSERT_TRUE(learner->Apply(UpdateCommand{.clip_grad_norm = 2}).ok());
  EXPECT_EQ(learner->spec().learning.clip_grad_norm, 2);
  EXPECT_EQ(LearningRate(learner->spec().optimizer), 1e-3);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double lr : {-1.0, nan, HUGE_VAL}) {
    ExpectRefused(learner->Apply(UpdateCommand{.learning_rate = lr, .clip_grad_norm = 1}).status(),
                  "INVALID_UPDATE", "learning_rate");
  }
  for (const double clip : {-1.0, nan, HUGE_VAL}) {
    ExpectRefused(
        learner->Apply(UpdateCommand{.learning_rate = 1, .clip_grad_norm = clip}).status(),
        "INVALID_UPDATE", "learning.clip_grad_norm");
  }
  EXPECT_EQ(learner->spec().learning.clip_grad_norm, 2);
  EXPECT_EQ(LearningRate(learner->spec().optimizer), 1e-3);
}

std::vector<StateTensor> Course(Learner& learner) {
  for (uint64_t t = 0; t < 40; ++t) TrainOn(learner, Data(t, 2 + t % 9));
  return learner.Tensors();
}

TEST(LearnerTest, TheSameCommandsGiveTheSameBitsOnAnyThreadAndInAnyCompany) {
  const auto alone = NewLearner(Deep());
  const auto want = Course(*alone);
  const auto a = NewLearner(Deep()), b = NewLearner(Deep());
  for (uint64_t t = 0; t < 40; ++t) {
    TrainOn(*a, Data(t, 2 + t % 9));
    PredictAll(*a, Data(90).x);
    TrainOn(*b, Data(t, 2 + t % 9));
  }
  ExpectSameTensors(a->Tensors(), want);
  ExpectSameTensors(b->Tensors(), want);
  std::vector<std::vector<StateTensor>> states(3);
  std::vector<std::thread> threads;
  for (auto& state : states) {
    threads.emplace_back([&state] { state = Course(*NewLearner(Deep())); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& state : states) ExpectSameTensors(state, want);
}

// They write to the same places in turn.
TEST(LearnerTest, ModelsThatTakeTurnsLearnAsTheyDoAlone) {
  ModelSpec other = Deep();
  other.seed = 9;
  const std::vector<ModelSpec> specs = {Deep(), other, Deep(SgdSpec{.lr = 0.1, .momentum = 0.9}),
                                        Plain()};
  std::vector<std::unique_ptr<Learner>> alone, together;
  for (const ModelSpec& spec : specs) {
    alone.push_back(NewLearner(spec));
    for (int i = 0; i < 6; ++i) TrainOn(*alone.back(), Data(i));
    together.push_back(NewLearner(spec));
  }
  Rows huge = Data(99);
  huge.y.setConstant(std::numeric_limits<float>::max());
  for (int i = 0; i < 6; ++i) {
    for (const auto& learner : together) {
      TrainOn(*learner, Data(i));
      EXPECT_FALSE(learner->Apply(TrainCommand{.batch = huge.batch()}).ok());
    }
  }
  for (size_t k = 0; k < specs.size(); ++k) {
    EXPECT_EQ(together[k]->StateHash(), alone[k]->StateHash()) << k;
  }
}

TEST(LearnerTest, TheSeedAloneDecidesTheStart) {
  ModelSpec spec = Plain();
  spec.in_features = 3;
  ExpectSameTensors(NewLearner(spec)->Tensors(), NewLearner(spec)->Tensors());
  const auto first = NewLearner(spec)->Tensors();
  spec.seed = 8;
  EXPECT_NE(Find(NewLearner(spec)->Tensors(), "0.weight").values, Find(first, "0.weight").values);
}

TEST(LearnerTest, PredictionChangesNoByte) {
  const auto predicted = NewLearner(Deep()), other = NewLearner(Deep());
  for (uint64_t t = 0; t < 5; ++t) {
    TrainOn(*predicted, Data(t));
    PredictAll(*predicted, Data(50 + t).x);
    TrainOn(*other, Data(t));
  }
  ExpectSameTensors(predicted->Tensors(), other->Tensors());
}

TEST(LearnerTest, TheOrderOfRowsDoesNotMatterToStatistics) {
  const auto a = NewLearner(Deep()), b = NewLearner(Deep());
  Rows rows = Data(1, 50);
  TrainOn(*a, rows);
  rows.x.colwise().reverseInPlace();
  rows.y.colwise().reverseInPlace();
  TrainOn(*b, rows);
  for (const char* name : {"0.running_mean", "0.running_var"}) {
    const auto left = Find(a->Tensors(), name).values, right = Find(b->Tensors(), name).values;
    for (size_t i = 0; i < left.size(); ++i) EXPECT_FLOAT_EQ(left[i], right[i]) << name;
  }
}

TEST(LearnerTest, OneColumnAndTwoRowsAreEnough) {
  const auto learner = NewLearner(Deep());
  for (uint64_t t = 0; t < 20; ++t) TrainOn(*learner, RegressionRows(2, 1, 1, t));
  EXPECT_EQ(learner->in_features(), 1);
  EXPECT_TRUE(PredictAll(*learner, Normal(4, 1, 1)).allFinite());
}

TEST(LearnerTest, StepsRowsAndLossesAreReported) {
  const auto learner = NewLearner(Plain(SgdSpec{.lr = 0}));
  const Rows rows = Data(1);
  for (int t = 1; t <= 3; ++t) {
    const StepResult result = TrainOn(*learner, rows);
    EXPECT_EQ(result.step, t);
    EXPECT_EQ(result.loss, result.prequential_loss);  // no batch norm, no dropout
  }
  EXPECT_EQ(learner->rows_trained(), 36);
  EXPECT_EQ(learner->MakePlan()->step(), 3);
  EXPECT_GT(learner->diagnostics().gradient_norm, 0);
  EXPECT_GT(learner->diagnostics().parameter_norm, 0);
}

TEST(LearnerTest, TheLossFallsWhenItLearns) {
  const auto learner = NewLearner(Deep());
  double first = 0, last = 0;
  for (uint64_t t = 0; t < 300; ++t) {
    const double loss = TrainOn(*learner, Data(t, 32)).prequential_loss;
    if (t == 0) first = loss;
    last = loss;
  }
  EXPECT_LT(last, first / 3);
}

TEST(LearnerTest, BadBatchesAreRefusedByReasonAndChangeNothing) {
  const auto learner = NewLearner(Deep());
  TrainOn(*learner, Data(1));
  const auto before = learner->Tensors();
  const auto refuse = [&](const Rows& rows, const std::string& reason) {
    ExpectRefused(learner->Apply(TrainCommand{.batch = rows.batch()}).status(), reason);
  };
  refuse(Rows{Matrix(0, 5), Matrix(0, 1), {}, {}}, "EMPTY_BATCH");
  refuse(RegressionRows(4, 6, 1, 1), "WIDTH_MISMATCH");
  refuse(Data(1, 1), "TOO_FEW_ROWS");
  refuse(RegressionRows(4, 5, 2, 1), "SHAPE_MISMATCH");
  refuse(Rows{Normal(4, 5, 1), Matrix(), {1, 0, 1, 0}, {}}, "TARGET_MISMATCH");
  refuse(Rows{Normal(2, 5, 1), Normal(2, 1, 1), {}, {0, 0}}, "INVALID_WEIGHTS");
  ExpectSameTensors(learner->Tensors(), before);
}

TEST(LearnerTest, AnInitialStateThatDoesNotFitIsRefused) {
  ModelSpec spec = Deep();
  spec.in_features = 5;
  const auto tensors = NewLearner(spec)->Tensors();
  spec.in_features = 6;
  ExpectRefused(Learner::Create(spec, Limits(), tensors).status(), "INVALID_STATE");
  const std::vector<StateTensor> last(tensors.end() - 1, tensors.end());
  ExpectRefused(Learner::Create(Deep(), Limits(), last).status(), "INVALID_STATE", "initial_state");
  ExpectRefused(Learner::Create(ModelSpec(), Limits()).status(), "INVALID_SPEC", "spec.layers");
}

// Rows of a stream whose targets become noise with step 160.
Rows Drifting(uint64_t t) {
  Rows rows = Data(t);
  if (t >= 160) rows.y = Normal(rows.rows(), 1, 1000 + t, 0, 6);
  return rows;
}

std::string IdOf(uint64_t t) {
  return "step " + std::to_string(t);
}

// What 240 steps of it gave.
std::vector<StepResult> TrainOnDrift(Learner& learner) {
  std::vector<StepResult> results;
  for (uint64_t t = 0; t < 240; ++t) {
    const Rows rows = Drifting(t);
    const std::string id = IdOf(t);
    const auto result = learner.Apply(TrainCommand{.batch = rows.batch(), .request_id = id});
    EXPECT_TRUE(result.ok()) << result.status();
    results.push_back(*result);
  }
  return results;
}

TEST(LearnerTest, DriftIsToldByTheStepThatFindsItAndAgainForItsRequestAlone) {
  const auto learner = NewLearner(Plain(SgdSpec{.lr = 0.01}));
  const std::vector<StepResult> results = TrainOnDrift(*learner);
  ASSERT_EQ(learner->drift().drifts(), 1);
  const int64_t step = learner->drift().last_drift_step();
  EXPECT_GT(step, 160);
  for (const StepResult& result : results) {
    EXPECT_EQ(result.drift, result.step == step) << result.step;
    EXPECT_GT(result.gradient_norm, 0);
  }
  const Rows rows = Drifting(step - 1);
  const std::string id = IdOf(step - 1);
  const DriftDetector::State before = learner->drift().state();
  const auto again = learner->Apply(TrainCommand{.batch = rows.batch(), .request_id = id});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->replayed);
  EXPECT_TRUE(again->drift);
  EXPECT_EQ(again->gradient_norm, results[step - 1].gradient_norm);
  EXPECT_EQ(learner->drift().state(), before);
}

TEST(LearnerTest, TheSameCommandsAndACopyGiveTheSameDrift) {
  const auto a = NewLearner(Deep()), b = NewLearner(Deep());
  const std::vector<StepResult> once = TrainOnDrift(*a), twice = TrainOnDrift(*b);
  EXPECT_EQ(a->drift().state(), b->drift().state());
  EXPECT_EQ(a->drift().state(), a->Copy()->drift().state());
  EXPECT_GT(a->drift().drifts(), 0);
  for (size_t t = 0; t < once.size(); ++t) EXPECT_EQ(once[t].drift, twice[t].drift);
}

TEST(LearnerTest, TheLossAmongTheDiagnosticsIsInTheTargetsUnits) {
  ModelSpec spec = Plain();
  const auto plain = NewLearner(spec);
  EXPECT_EQ(TrainOn(*plain, Data(1)).loss, plain->diagnostics().loss);
  spec.learning.normalize_targets = true;
  spec.learning.replay = {.capacity = 100, .rows_per_step = 8};
  const auto scaled = NewLearner(spec);
  for (uint64_t t = 0; t < 20; ++t) {
    Rows rows = Data(t);
    rows.y = 300 + 40 * rows.y.array();
    const StepResult result = TrainOn(*scaled, rows);
    if (t == 0) continue;  // before any target is known, predictions are far off
    // Nothing in this network tells training from prediction.
    const double ratio = scaled->diagnostics().loss / result.prequential_loss;
    EXPECT_GT(ratio, 0.5) << t;
    EXPECT_LT(ratio, 2) << t;
    EXPECT_GT(scaled->diagnostics().loss, 100 * result.loss) << t;
  }
}

}  // namespace
}  // namespace lazynorm
