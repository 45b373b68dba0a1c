#include "server/convert/records.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

ModelSpec Spec() {
  ModelSpec spec =
      SpecOf({BatchNormSpec{.eps = 1e-3, .momentum = 0.3}, LinearSpec{.out_features = 4},
              BatchNormSpec{.cumulative = true}, ActivationSpec{.kind = ActivationKind::kElu},
              DropoutSpec{.p = 0.2}, LinearSpec{.bias = false}},
             RmsPropSpec{.lr = 0.003, .momentum = 0.1, .centered = true},
             {.kind = LossKind::kHuber, .delta = 0.7});
  spec.seed = 1'234'567'890'123'456'789u;
  spec.learning = {.clip_grad_norm = 0.1,
                   .updates_per_request = 3,
                   .normalize_targets = true,
                   .experts = {{.replay = {20, 3}}, {.learning_rate = 0.1}},
                   .hedge_rate = 0.7,
                   .hedge_discount = 0.9};
  return spec;
}

std::unique_ptr<StoredCommand> ThroughBytes(const Command& command) {
  auto stored = StoredCommand::FromBytes(ToBytes(command, {}));
  EXPECT_TRUE(stored.ok()) << stored.status();
  return *std::move(stored);
}

// Applies a command, and to another learner what the store would keep of it.
void ApplyBoth(const Command& command, Learner& learner, Learner& other) {
  ASSERT_TRUE(learner.Apply(command).ok());
  const auto stored = ThroughBytes(command);
  const auto result = other.Apply(stored->command());
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(other.Save() == learner.Save());
}

TEST(RecordsTest, CommandsThatWereKeptDoWhatTheyDid) {
  const auto learner = NewLearner(Spec()), other = NewLearner(Spec());
  Rows rows = RegressionRows(6, 3, 1, 1);
  rows.weights = {1, 2, 0, 1, 0.5f, 3};
  ApplyBoth(ResolveCommand{3}, *learner, *other);
  const std::string start = learner->Save();
  ApplyBoth(TrainCommand{.batch = rows.batch(), .request_id = "r"}, *learner, *other);
  ApplyBoth(TrainCommand{.batch = rows.batch(), .freeze_statistics = true}, *learner, *other);
  const Matrix y = PredictAll(*learner, rows.x);
  ApplyBoth(RememberCommand{.ids = {"a", "b", "c", "d", "e", "f"},
                            .features = ViewOf(rows.x),
                            .predictions = ViewOf(y),
                            .now = 5,
                            .expires = 10,
                            .max_rows = 6,
                            .max_bytes = 10000},
            *learner, *other);
  Batch labels = rows.batch();
  labels.features = {};
  labels.targets = labels.targets.first(2);
  labels.sample_weights = {};
  ApplyBoth(TrainCommand{.batch = labels, .prediction_ids = {"f", "b"}, .now = 9}, *learner,
            *other);
  ApplyBoth(UpdateCommand{.learning_rate = 0.5, .clip_grad_norm = 0.0}, *learner, *other);
  ApplyBoth(UpdateCommand{.experts = {{{.updates_per_request = 2}}}, .hedge_rate = 0.9}, *learner,
            *other);
  ApplyBoth(FreezeStatisticsCommand{true}, *learner, *other);
  ApplyBoth(TrainCommand{.batch = rows.batch()}, *learner, *other);
  ApplyBoth(RestoreCommand{Spec(), start}, *learner, *other);
  EXPECT_EQ(other->spec().learning, learner->spec().learning);
}

TEST(RecordsTest, LabelsAreKept) {
  ModelSpec spec = SpecOf({LinearSpec{.out_features = 3}}, AdamSpec(), {LossKind::kCrossEntropy});
  const auto learner = NewLearner(spec), other = NewLearner(spec);
  Rows rows{Normal(3, 2, 1), Matrix(), {2, 0, 1}, {}};
  ApplyBoth(TrainCommand{.batch = rows.batch()}, *learner, *other);
}

TEST(RecordsTest, TheTraceIsKept) {
  const CommandTrace trace{absl::FromUnixMicros(1234), ~uint64_t{7}, "v4"};
  const auto stored = StoredCommand::FromBytes(ToBytes(ResolveCommand{3}, trace));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ((*stored)->trace().time, trace.time);
  EXPECT_EQ((*stored)->trace().state_hash, trace.state_hash);
  EXPECT_EQ((*stored)->trace().kernels, trace.kernels);
}

TEST(RecordsTest, ASavedModelComesBackWhole) {
  const auto learner = NewLearner(Spec());
  TrainOn(*learner, RegressionRows(6, 3, 1, 1));
  const SavedModel saved{.spec = learner->spec(),
                         .learner = learner->Save(),
                         .create_time = absl::FromUnixMicros(17),
                         .update_time = absl::FromUnixMicros(18),
                         .averages = {0.5, 0.25}};
  const auto read = SavedModelFromBytes(ToBytes(saved));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->create_time, saved.create_time);
  EXPECT_EQ(read->update_time, saved.update_time);
  EXPECT_EQ(read->averages, saved.averages);
  EXPECT_TRUE(ToBytes(*read) == ToBytes(saved));
  const auto other = Learner::Load(read->spec, Limits(), read->learner);
  ASSERT_TRUE(other.ok()) << other.status();
  TrainOn(**other, RegressionRows(6, 3, 1, 2));
  TrainOn(*learner, RegressionRows(6, 3, 1, 2));
  EXPECT_TRUE((*other)->Save() == learner->Save());
}

TEST(RecordsTest, WhatIsNoRecordIsRefused) {
  for (const char* bytes : {"", "\xff\xff\xff", "hello"}) {
    const auto status = StoredCommand::FromBytes(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(ReasonOf(status), "MODEL_DAMAGED");
  }
}

RememberCommand Remember(const std::vector<absl::string_view>& ids, const Matrix& x,
                         const Matrix& y) {
  return {.ids = ids,
          .features = ViewOf(x),
          .predictions = ViewOf(y),
          .now = 5,
          .expires = 10,
          .max_rows = 6,
          .max_bytes = 10000};
}

TEST(RecordsTest, APredictionThatOverflowedIsRememberedLikeAnyOther) {
  const ModelSpec spec = SpecOf({LinearSpec{}});
  const auto learner = NewLearner(spec), other = NewLearner(spec);
  const Matrix x = Matrix::Ones(1, 2), y = Matrix::Constant(1, 1, HUGE_VALF);
  ApplyBoth(Remember({"a"}, x, y), *learner, *other);
}

TEST(RecordsTest, AMemoryWithoutAnIdARowIsDamaged) {
  const Matrix x = Matrix::Ones(2, 2), y = Matrix::Ones(2, 1), one = Matrix::Ones(1, 1), none;
  for (const RememberCommand& command :
       {Remember({"a"}, x, y), Remember({"a", "b"}, x, one), Remember({"a", "b"}, x, none)}) {
    EXPECT_EQ(ReasonOf(StoredCommand::FromBytes(ToBytes(command, {})).status()), "MODEL_DAMAGED");
  }
}

}  // namespace
}  // namespace lazynorm
