#include "server/convert/spec.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "google/protobuf/util/message_differencer.h"
#include "model/errors.h"
#include "tests/support/text_proto.h"

namespace lazynorm {
namespace {

using google::protobuf::util::MessageDifferencer;

void ExpectSame(const std::string& asked, const std::string& answered) {
  const auto spec = FromProto(Parse<v1::ModelSpec>(asked));
  ASSERT_TRUE(spec.ok()) << spec.status();
  const v1::ModelSpec got = ToProto(*spec);
  EXPECT_TRUE(MessageDifferencer::Equals(got, Parse<v1::ModelSpec>(answered)))
      << got.ShortDebugString();
}

void ExpectRefused(const std::string& text, const std::string& field) {
  const auto spec = FromProto(Parse<v1::ModelSpec>(text));
  ASSERT_FALSE(spec.ok()) << text;
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(spec.status()), "INVALID_SPEC");
  EXPECT_EQ(FieldOf(spec.status()), field) << spec.status();
}

// The parts that a spec of one Linear answers with, beside what a test is about.
constexpr char kLinear[] = "layers { linear { out_features: 1 bias: true } } ";
constexpr char kMse[] = "loss { kind: LOSS_KIND_MSE } ";
constexpr char kAdam[] =
    "optimizer { adam { lr: 1e-3 beta1: 0.9 beta2: 0.999 eps: 1e-8 weight_decay: 0 "
    "amsgrad: false } } ";
constexpr char kLearning[] = "learning { clip_grad_norm: 0 updates_per_request: 1 } ";

std::string WithLayer(const std::string& layer) {
  return layer + kMse + kAdam + kLearning;
}
std::string WithLoss(const std::string& loss) {
  return kLinear + loss + kAdam + kLearning;
}
std::string WithOptimizer(const std::string& optimizer) {
  return std::string(kLinear) + kMse + optimizer + kLearning;
}

TEST(SpecTest, WhatIsUnsetAnswersWithTorchsDefaults) {
  ExpectSame("layers { linear {} }", WithLayer(kLinear));
  ExpectSame("layers { batch_norm {} }",
             WithLayer("layers { batch_norm { eps: 1e-5 momentum: 0.1 cumulative: false "
                       "affine: true track_running_stats: true "
                       "training_statistics: TRAINING_STATISTICS_BATCH } }"));
  ExpectSame("layers { activation { kind: ACTIVATION_KIND_LEAKY_RELU } }",
             WithLayer("layers { activation { kind: ACTIVATION_KIND_LEAKY_RELU "
                       "negative_slope: 0.01 } }"));
  ExpectSame("layers { linear {} } optimizer { adam {} }", WithOptimizer(kAdam));
  ExpectSame("layers { linear {} } optimizer { sgd {} }",
             WithOptimizer("optimizer { sgd { lr: 1e-3 momentum: 0 dampening: 0 weight_decay: 0 "
                           "nesterov: false } }"));
  ExpectSame("layers { linear {} } optimizer { adamw {} }",
             WithOptimizer("optimizer { adamw { lr: 1e-3 beta1: 0.9 beta2: 0.999 eps: 1e-8 "
                           "weight_decay: 0.01 } }"));
  ExpectSame("layers { linear {} } optimizer { rmsprop {} }",
             WithOptimizer("optimizer { rmsprop { lr: 1e-2 alpha: 0.99 eps: 1e-8 weight_decay: 0 "
                           "momentum: 0 } }"));
  ExpectSame("layers { linear {} } optimizer { adagrad {} }",
             WithOptimizer("optimizer { adagrad { lr: 1e-2 lr_decay: 0 weight_decay: 0 "
                           "initial_accumulator_value: 0 eps: 1e-10 } }"));
  ExpectSame("layers { linear {} } loss { kind: LOSS_KIND_SMOOTH_L1 }",
             WithLoss("loss { kind: LOSS_KIND_SMOOTH_L1 beta: 1 }"));
  ExpectSame("layers { linear {} } loss { kind: LOSS_KIND_HUBER }",
             WithLoss("loss { kind: LOSS_KIND_HUBER delta: 1 }"));
  ExpectSame("layers { linear {} } loss { kind: LOSS_KIND_BCE_WITH_LOGITS }",
             WithLoss("loss { kind: LOSS_KIND_BCE_WITH_LOGITS pos_weight: 1 }"));
}

TEST(SpecTest, WhatIsSetComesBackAsItIs) {
  for (const std::string layer :
       {"layers { linear { out_features: 7 bias: false } }",
        "layers { batch_norm { eps: 0.5 momentum: 0.25 affine: false track_running_stats: false "
        "training_statistics: TRAINING_STATISTICS_BATCH } }",
        "layers { batch_norm { eps: 1e-5 cumulative: true affine: true track_running_stats: true "
        "training_statistics: TRAINING_STATISTICS_RUNNING } }",
        "layers { activation { kind: ACTIVATION_KIND_LEAKY_RELU negative_slope: -2 } }",
        "layers { dropout { p: 0.25 } }"}) {
    ExpectSame(WithLayer(layer), WithLayer(layer));
  }
  for (const std::string optimizer :
       {"optimizer { sgd { lr: 1 momentum: 2 dampening: 3 weight_decay: 4 nesterov: true } }",
        "optimizer { adam { lr: 1 beta1: 2 beta2: 3 eps: 4 weight_decay: 5 amsgrad: true } }",
        "optimizer { adamw { lr: 1 beta1: 2 beta2: 3 eps: 4 weight_decay: 5 amsgrad: true } }",
        "optimizer { rmsprop { lr: 1 alpha: 2 eps: 3 weight_decay: 4 momentum: 5 centered: true "
        "} }",
        "optimizer { adagrad { lr: 1 lr_decay: 2 weight_decay: 3 initial_accumulator_value: 4 "
        "eps: 5 } }",
        "optimizer { sgd { lr: 0 momentum: 0 dampening: 0 weight_decay: 0 } }"}) {
    ExpectSame(WithOptimizer(optimizer), WithOptimizer(optimizer));
  }
  for (const std::string loss :
       {"loss { kind: LOSS_KIND_MSE }", "loss { kind: LOSS_KIND_L1 }",
        "loss { kind: LOSS_KIND_SMOOTH_L1 beta: 0.5 }", "loss { kind: LOSS_KIND_HUBER delta: 2 }",
        "loss { kind: LOSS_KIND_BCE_WITH_LOGITS pos_weight: 3 }",
        "loss { kind: LOSS_KIND_CROSS_ENTROPY }"}) {
    ExpectSame(WithLoss(loss), WithLoss(loss));
  }
  const std::string rest =
      std::string(kLinear) + kMse + kAdam +
      "learning { clip_grad_norm: 1.5 normalize_targets: true replay { capacity: 9 "
      "rows_per_step: 3 } updates_per_request: 2 } seed: 18446744073709551615 "
      "in_features: 2 feature_names: 'a' feature_names: 'b' class_names: 'x'";
  ExpectSame(rest, rest);
  const std::string experts =
      std::string(kLinear) + kMse + kAdam +
      "learning { experts { updates_per_request: 1 } experts { replay { capacity: 5 "
      "rows_per_step: 2 } updates_per_request: 3 learning_rate: 0.5 } hedge_rate: 1 "
      "hedge_discount: 0.5 }";
  ExpectSame(experts, experts);
}

TEST(SpecTest, EveryActivationComesBackAsItself) {
  for (int kind = v1::ACTIVATION_KIND_IDENTITY; kind <= v1::ActivationKind_MAX; ++kind) {
    v1::ModelSpec spec;
    spec.add_layers()->mutable_activation()->set_kind(static_cast<v1::ActivationKind>(kind));
    const auto converted = FromProto(spec);
    ASSERT_TRUE(converted.ok()) << kind;
    EXPECT_EQ(ToProto(*converted).layers(0).activation().kind(), kind);
  }
}

TEST(SpecTest, AnMlpAnswersWithItsLayers) {
  const std::string bn =
      "layers { batch_norm { eps: 1e-05 momentum: 0.1 affine: true track_running_stats: true "
      "training_statistics: TRAINING_STATISTICS_BATCH } } ";
  ExpectSame("mlp {}", WithLayer(kLinear));
  ExpectSame("mlp { hidden: 3 out_features: 2 activation: ACTIVATION_KIND_TANH }",
             WithLayer("layers { linear { out_features: 3 bias: true } } " + bn +
                       "layers { activation { kind: ACTIVATION_KIND_TANH } }"
                       "layers { linear { out_features: 2 bias: true } } "));
  ExpectSame("mlp { hidden: 3 hidden: 2 normalize_input: true dropout: 0.5 }",
             WithLayer(bn + "layers { linear { out_features: 3 bias: true } } " + bn +
                       "layers { activation { kind: ACTIVATION_KIND_RELU } }"
                       "layers { dropout { p: 0.5 } }"
                       "layers { linear { out_features: 2 bias: true } } " +
                       bn +
                       "layers { activation { kind: ACTIVATION_KIND_RELU } }"
                       "layers { dropout { p: 0.5 } }" +
                       kLinear));
}

TEST(SpecTest, WhatTheMessageAloneGetsWrongIsRefusedWithItsField) {
  ExpectRefused("mlp {} layers { linear {} }", "spec.layers");
  ExpectRefused("mlp { hidden: 4 hidden: 0 }", "spec.mlp.hidden[1]");
  ExpectRefused("mlp { hidden: -1 }", "spec.mlp.hidden[0]");
  ExpectRefused("mlp { out_features: -1 }", "spec.mlp.out_features");
  ExpectRefused("mlp { activation: 99 }", "spec.mlp.activation");
  ExpectRefused("mlp { dropout: 1 }", "spec.mlp.dropout");
  ExpectRefused("mlp { dropout: -0.5 }", "spec.mlp.dropout");
  ExpectRefused("mlp { dropout: nan }", "spec.mlp.dropout");
  ExpectRefused("layers { linear {} } layers {}", "spec.layers[1]");
  ExpectRefused("layers { activation {} }", "spec.layers[0].activation.kind");
  ExpectRefused("layers { activation { kind: 11 } }", "spec.layers[0].activation.kind");
  ExpectRefused("layers { batch_norm { cumulative: true momentum: 0.1 } }",
                "spec.layers[0].batch_norm.momentum");
  ExpectRefused("layers { linear {} } loss { kind: 7 }", "spec.loss.kind");
  ExpectRefused("layers { linear {} } loss { kind: -1 }", "spec.loss.kind");
}

TEST(SpecTest, ANumberOutOfRangeIsLeftToValidate) {
  const auto spec = FromProto(Parse<v1::ModelSpec>("layers { linear { out_features: -3 } }"));
  const absl::Status status = Validate(*spec, Limits());
  EXPECT_EQ(ReasonOf(status), "INVALID_SPEC");
  EXPECT_EQ(FieldOf(status), "spec.layers[0].linear.out_features");
}

absl::StatusOr<UpdateCommand> Update(const std::string& text) {
  return FromProto(Parse<v1::UpdateModelRequest>(text));
}

void ExpectUpdate(const std::string& text, std::optional<double> rate, std::optional<double> clip) {
  const auto update = Update(text);
  ASSERT_TRUE(update.ok()) << text << update.status();
  EXPECT_EQ(update->learning_rate, rate) << text;
  EXPECT_EQ(update->clip_grad_norm, clip) << text;
}

TEST(UpdateTest, WithoutAMaskTheFieldsThatAreSetCount) {
  ExpectUpdate("learning_rate: 0.5", 0.5, std::nullopt);
  ExpectUpdate("learning { clip_grad_norm: 2 }", std::nullopt, 2);
  ExpectUpdate("learning {}", std::nullopt, 0);
  ExpectUpdate("learning_rate: 0.5 learning { clip_grad_norm: 2 }", 0.5, 2);
}

TEST(UpdateTest, AMaskChoosesAndWhatItChoosesMayBeZero) {
  const std::string both = "learning_rate: 0.5 learning { clip_grad_norm: 2 } update_mask ";
  ExpectUpdate(both + "{ paths: 'learning_rate' }", 0.5, std::nullopt);
  ExpectUpdate(both + "{ paths: 'learning' }", std::nullopt, 2);
  ExpectUpdate(both + "{ paths: 'learning.clip_grad_norm' }", std::nullopt, 2);
  ExpectUpdate(both + "{ paths: 'learning' paths: 'learning_rate' }", 0.5, 2);
  ExpectUpdate(both + "{ paths: '*' }", 0.5, 2);
  ExpectUpdate("update_mask { paths: 'learning_rate' }", 0, std::nullopt);
  ExpectUpdate("update_mask { paths: '*' }", 0, 0);
}

TEST(UpdateTest, AFieldOfLearningLeavesTheOthersAlone) {
  const auto update = Update(
      "learning { replay { capacity: 7 rows_per_step: 2 } hedge_rate: 2 clip_grad_norm: 3 } "
      "update_mask { paths: 'learning.replay' paths: 'learning.hedge_rate' }");
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->replay, (ReplaySpec{7, 2}));
  EXPECT_EQ(update->hedge_rate, 2);
  EXPECT_FALSE(update->clip_grad_norm.has_value());
  EXPECT_FALSE(update->experts.has_value());
  EXPECT_FALSE(update->normalize_targets.has_value());
}

TEST(UpdateTest, AnUnknownPathOrNothingToDoIsRefused) {
  for (const auto& [text, field] : std::initializer_list<std::pair<std::string, std::string>>{
           {"update_mask { paths: 'learning' paths: 'spec' }", "update_mask.paths[1]"},
           {"update_mask { paths: 'learning.replays' }", "update_mask.paths[0]"},
           {"update_mask { paths: '' }", "update_mask.paths[0]"},
           {"update_mask {} learning_rate: 1", "update_mask"},
           {"", "update_mask"}}) {
    const auto update = Update(text);
    ASSERT_FALSE(update.ok()) << text;
    EXPECT_EQ(ReasonOf(update.status()), "INVALID_UPDATE");
    EXPECT_EQ(FieldOf(update.status()), field) << text;
  }
}

}  // namespace
}  // namespace lazynorm
