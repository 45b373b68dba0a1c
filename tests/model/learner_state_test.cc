// Saved and read back, a learner goes on as if nothing had happened.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

ModelSpec StreamSpec() {
  const BatchNormSpec running{.momentum = 0.01,
                              .training_statistics = TrainingStatistics::kRunning};
  ModelSpec spec = SpecOf({running, LinearSpec{.out_features = 8}, BatchNormSpec{},
                           ActivationSpec{}, DropoutSpec{.p = 0.1}, LinearSpec{}});
  spec.learning.normalize_targets = true;
  spec.learning.experts = {{.replay = {40, 8}},
                           {.replay = {30, 8}, .updates_per_request = 3},
                           {.updates_per_request = 2, .learning_rate = 0.03}};
  return spec;
}

// The i-th of a row of commands that use all there is.
absl::StatusOr<StepResult> Do(Learner& learner, int i) {
  const Rows rows = RegressionRows(6, 5, 1, i);
  const std::string id = absl::StrCat("request-", i);
  if (i % 7 == 3) {
    const Matrix y = PredictAll(learner, rows.x);
    const std::vector<std::string> ids = {id + "a", id + "b", id + "c", id + "d", "e", "f"};
    return learner.Apply(RememberCommand{.ids = {ids.begin(), ids.end()},
                                         .features = ViewOf(rows.x),
                                         .predictions = ViewOf(y),
                                         .now = i,
                                         .expires = i + 20,
                                         .max_rows = 20,
                                         .max_bytes = 1 << 20});
  }
  if (i % 7 == 4) {
    Batch labels = rows.batch();
    labels.features = {};
    labels.targets = labels.targets.first(2);
    return learner.Apply(TrainCommand{.batch = labels, .prediction_ids = {"e", "f"}, .now = i});
  }
  if (i % 11 == 5) return learner.Apply(UpdateCommand{.learning_rate = 0.01 / i});
  if (i % 11 == 6) return learner.Apply(FreezeStatisticsCommand{.frozen = i % 2 == 0});
  return learner.Apply(TrainCommand{.batch = rows.batch(), .request_id = id});
}

std::unique_ptr<Learner> After(const ModelSpec& spec, int commands) {
  auto learner = NewLearner(spec);
  for (int i = 0; i < commands; ++i) EXPECT_TRUE(Do(*learner, i).ok()) << i;
  return learner;
}

std::unique_ptr<Learner> ReadBack(const Learner& learner) {
  auto read = Learner::Load(learner.spec(), Limits(), learner.Save());
  EXPECT_TRUE(read.ok()) << read.status();
  return *std::move(read);
}

TEST(LearnerStateTest, WhatIsReadBackGoesOnAlikeToTheLastBit) {
  for (const int cut : {1, 4, 5, 20, 50}) {
    const auto learner = After(StreamSpec(), cut);
    const auto other = ReadBack(*learner);
    EXPECT_TRUE(other->Save() == learner->Save());
    for (int i = cut; i < cut + 30; ++i) {
      const auto expected = Do(*learner, i), got = Do(*other, i);
      ASSERT_EQ(got.status(), expected.status());
      if (!got.ok()) continue;
      ASSERT_EQ(got->loss, expected->loss) << i;
      ASSERT_EQ(got->prequential_loss, expected->prequential_loss) << i;
    }
    EXPECT_TRUE(other->Save() == learner->Save());
    EXPECT_EQ(other->StateHash(), learner->StateHash());
    ExpectSameTensors(other->Tensors(), learner->Tensors());
  }
}

TEST(LearnerStateTest, EveryOptimizerKeepsItsMoments) {
  const OptimizerSpec optimizers[] = {
      SgdSpec{.lr = 0.01, .momentum = 0.9}, AdamSpec{.amsgrad = true}, AdamWSpec{},
      RmsPropSpec{.momentum = 0.5, .centered = true}, AdagradSpec{}};
  for (const OptimizerSpec& optimizer : optimizers) {
    ModelSpec spec = StreamSpec();
    spec.optimizer = optimizer;
    const auto learner = After(spec, 12);
    const auto other = ReadBack(*learner);
    for (int i = 12; i < 20; ++i) {
      ASSERT_TRUE(Do(*learner, i).ok());
      ASSERT_TRUE(Do(*other, i).ok());
    }
    EXPECT_TRUE(other->Save() == learner->Save());
  }
}

TEST(LearnerStateTest, AnsweredRequestsAreStillKnown) {
  const auto learner = After(StreamSpec(), 10);
  const auto other = ReadBack(*learner);
  const auto again = Do(*other, 9);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(other->step(), learner->step());
}

TEST(LearnerStateTest, ALazyModelStaysLazy) {
  const auto learner = NewLearner(StreamSpec());
  const auto other = ReadBack(*learner);
  EXPECT_TRUE(other->lazy());
  ASSERT_TRUE(Do(*learner, 0).ok());
  ASSERT_TRUE(Do(*other, 0).ok());
  EXPECT_TRUE(other->Save() == learner->Save());
}

TEST(LearnerStateTest, RestoringIsACommandThatTakesTheWholeStateBack) {
  const auto learner = After(StreamSpec(), 20);
  const std::string then = learner->Save();
  const ModelSpec spec = learner->spec();
  const int64_t step = learner->step();
  for (int i = 20; i < 40; ++i) ASSERT_TRUE(Do(*learner, i).ok());
  const std::string later = learner->Save();
  const auto result = learner->Apply(RestoreCommand{spec, then});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->step, step);
  EXPECT_TRUE(learner->Save() == then);
  for (int i = 20; i < 40; ++i) ASSERT_TRUE(Do(*learner, i).ok());
  EXPECT_TRUE(learner->Save() == later);
}

TEST(LearnerStateTest, WhatIsCutShortOrOfAnotherModelIsRefusedAndChangesNothing) {
  const auto learner = After(StreamSpec(), 20);
  const std::string state = learner->Save();
  for (size_t size = 0; size < state.size(); size += 1 + size / 50) {
    ExpectRefused(
        Learner::Load(learner->spec(), Limits(), absl::string_view(state).substr(0, size)).status(),
        "INVALID_STATE");
  }
  ExpectRefused(Learner::Load(learner->spec(), Limits(), state + "x").status(), "INVALID_STATE");
  ModelSpec wider = learner->spec();
  std::get<LinearSpec>(wider.layers[1]).out_features = 9;
  ExpectRefused(learner->Apply(RestoreCommand{wider, state}).status(), "INVALID_STATE");
  EXPECT_TRUE(learner->Save() == state);
}

TEST(LearnerStateTest, WhatWasNeverWrittenIsRefused) {
  const auto learner = After(StreamSpec(), 10);
  const std::string state = learner->Save();
  const auto load = [&](const std::function<void(std::string&)>& spoil) {
    std::string spoilt = state;
    spoil(spoilt);
    return Learner::Load(learner->spec(), Limits(), spoilt).status();
  };
  // Behind the format and the width: step and rows, counted in 8 bytes each, then a bool.
  ExpectRefused(load([](std::string& s) { s[8 + 7] = '\x7f'; }), "INVALID_STATE");
  ExpectRefused(load([](std::string& s) { s[16 + 7] = '\xff'; }), "INVALID_STATE");
  ExpectRefused(load([](std::string& s) { s[24] = 2; }), "INVALID_STATE");
  ModelSpec nonsense = learner->spec();
  std::get<LinearSpec>(nonsense.layers[1]).out_features = -1;
  ExpectRefused(Learner::Load(nonsense, Limits(), state).status(), "INVALID_SPEC");
}

TEST(LearnerStateTest, PartsThatDoNotFitTogetherAreRefused) {
  // Alike in all that is counted beforehand, but one has no scale of the targets.
  ModelSpec plain = StreamSpec();
  plain.learning.normalize_targets = false;
  const std::string unscaled = After(plain, 1)->Save();
  EXPECT_TRUE(Learner::Load(plain, Limits(), unscaled).ok());
  ExpectRefused(Learner::Load(StreamSpec(), Limits(), unscaled).status(), "INVALID_STATE");
}

TEST(LearnerStateTest, DamageNeverCrashes) {
  const auto learner = After(StreamSpec(), 10);
  const std::string state = learner->Save();
  const Random random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = state;
    damaged[random.Bits(2 * i) % (i < 1000 ? state.size() : 100)] ^= 1
                                                                     << random.Bits(2 * i + 1) % 8;
    (void)Learner::Load(learner->spec(), Limits(), damaged);
  }
}

}  // namespace
}  // namespace lazynorm
