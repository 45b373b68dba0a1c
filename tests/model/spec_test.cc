#include "model/spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(ExpandTest, AnMlpIsLinearBatchNormActivationForEachHiddenWidth) {
  const auto layers = Expand({.hidden = {8, 4},
                              .out_features = 3,
                              .activation = ActivationKind::kSilu,
                              .normalize_input = true,
                              .dropout = 0.25});
  ASSERT_EQ(layers.size(), 10u);
  EXPECT_TRUE(std::holds_alternative<BatchNormSpec>(layers[0]));
  EXPECT_EQ(std::get<LinearSpec>(layers[1]).out_features, 8);
  EXPECT_TRUE(std::holds_alternative<BatchNormSpec>(layers[2]));
  EXPECT_EQ(std::get<ActivationSpec>(layers[3]).kind, ActivationKind::kSilu);
  EXPECT_EQ(std::get<DropoutSpec>(layers[4]).p, 0.25);
  EXPECT_EQ(std::get<LinearSpec>(layers[5]).out_features, 4);
  EXPECT_EQ(std::get<LinearSpec>(layers[9]).out_features, 3);
}

TEST(ExpandTest, WhatIsNotAskedForIsNotThere) {
  EXPECT_EQ(Expand({.hidden = {8}}).size(), 4u);
  ASSERT_EQ(Expand({}).size(), 1u);
  EXPECT_EQ(std::get<LinearSpec>(Expand({})[0]).out_features, 1);
}

TEST(SpecTest, WidthsAndCountsFollowTheLayers) {
  ModelSpec spec = SpecOf(Expand({.hidden = {8}, .out_features = 2, .normalize_input = true}));
  EXPECT_EQ(OutFeatures(spec, 5), 2);
  EXPECT_EQ(ParameterCount(spec, 5), 10 + 48 + 16 + 18);
  EXPECT_EQ(OutFeatures(SpecOf({BatchNormSpec{}}), 5), 5);
  EXPECT_EQ(ExpectedInFeatures(spec), 0);
  spec.feature_names = {"a", "b"};
  EXPECT_EQ(ExpectedInFeatures(spec), 2);
}

TEST(SpecTest, TheLearningRateOfAnyOptimizerCanBeReadAndSet) {
  for (OptimizerSpec optimizer :
       {OptimizerSpec(AdamSpec{}), OptimizerSpec(AdamWSpec{}), OptimizerSpec(SgdSpec{}),
        OptimizerSpec(RmsPropSpec{}), OptimizerSpec(AdagradSpec{})}) {
    SetLearningRate(0.5, optimizer);
    EXPECT_EQ(LearningRate(optimizer), 0.5);
  }
}

// Spoils one thing in a good spec.
void Refuse(const std::function<void(ModelSpec&)>& spoil, const std::string& field,
            const std::string& reason = "INVALID_SPEC") {
  ModelSpec spec = SpecOf({LinearSpec{.out_features = 4}, BatchNormSpec{}, ActivationSpec{},
                           DropoutSpec{}, LinearSpec{.out_features = 3}});
  const Limits limits{.max_width = 100, .max_parameters = 1000};
  ASSERT_TRUE(Validate(spec, limits).ok());
  spoil(spec);
  ExpectRefused(Validate(spec, limits), reason, field);
}

TEST(ValidateTest, RefusesBadLayersByField) {
  Refuse([](auto& s) { s.layers.clear(); }, "spec.layers");
  Refuse([](auto& s) { s.layers = {ActivationSpec{}, DropoutSpec{}}; }, "spec.layers");
  Refuse([](auto& s) { s.layers = {BatchNormSpec{.affine = false}}; }, "spec.layers");
  for (const int width : {0, -1}) {
    Refuse([&](auto& s) { s.layers[0] = LinearSpec{width}; }, "spec.layers[0].linear.out_features");
  }
  for (const double bad : {-0.1, kNan, HUGE_VAL}) {
    Refuse([&](auto& s) { s.layers[1] = BatchNormSpec{.eps = bad}; },
           "spec.layers[1].batch_norm.eps");
    Refuse([&](auto& s) { s.layers[1] = BatchNormSpec{.momentum = bad}; },
           "spec.layers[1].batch_norm.momentum");
    Refuse([&](auto& s) { s.layers[3] = DropoutSpec{bad}; }, "spec.layers[3].dropout.p");
  }
  Refuse([](auto& s) { s.layers[3] = DropoutSpec{1}; }, "spec.layers[3].dropout.p");
  Refuse([](auto& s) { s.layers[2] = ActivationSpec{.negative_slope = kNan}; },
         "spec.layers[2].activation.negative_slope");
}

TEST(ValidateTest, RefusesBadLossesByField) {
  Refuse([](auto& s) { s.loss.beta = -1; }, "spec.loss.beta");
  Refuse([](auto& s) { s.loss.delta = 0; }, "spec.loss.delta");
  Refuse([](auto& s) { s.loss.pos_weight = kNan; }, "spec.loss.pos_weight");
  Refuse(
      [](auto& s) {
        s.loss.kind = LossKind::kCrossEntropy;
        s.layers[4] = LinearSpec{.out_features = 1};
      },
      "spec.loss.kind");
}

TEST(ValidateTest, RefusesBadOptimizersByField) {
  const auto refuse = [](const OptimizerSpec& optimizer, const std::string& field) {
    Refuse([&](auto& s) { s.optimizer = optimizer; }, "spec.optimizer." + field);
  };
  for (const double bad : {-0.1, kNan, HUGE_VAL}) {
    refuse(AdamSpec{.lr = bad}, "adam.lr");
    refuse(AdamSpec{.beta1 = bad}, "adam.beta1");
    refuse(AdamSpec{.beta2 = bad}, "adam.beta2");
    refuse(AdamSpec{.eps = bad}, "adam.eps");
    refuse(AdamSpec{.weight_decay = bad}, "adam.weight_decay");
    refuse(AdamWSpec{.lr = bad}, "adamw.lr");
    refuse(SgdSpec{.lr = bad}, "sgd.lr");
    refuse(SgdSpec{.momentum = bad}, "sgd.momentum");
    refuse(SgdSpec{.weight_decay = bad}, "sgd.weight_decay");
    refuse(RmsPropSpec{.lr = bad}, "rmsprop.lr");
    refuse(RmsPropSpec{.alpha = bad}, "rmsprop.alpha");
    refuse(RmsPropSpec{.eps = bad}, "rmsprop.eps");
    refuse(RmsPropSpec{.weight_decay = bad}, "rmsprop.weight_decay");
    refuse(RmsPropSpec{.momentum = bad}, "rmsprop.momentum");
    refuse(AdagradSpec{.lr = bad}, "adagrad.lr");
    refuse(AdagradSpec{.lr_decay = bad}, "adagrad.lr_decay");
    refuse(AdagradSpec{.weight_decay = bad}, "adagrad.weight_decay");
    refuse(AdagradSpec{.initial_accumulator_value = bad}, "adagrad.initial_accumulator_value");
    refuse(AdagradSpec{.eps = bad}, "adagrad.eps");
  }
  refuse(AdamSpec{.beta1 = 1}, "adam.beta1");
  refuse(AdamWSpec{.beta2 = 1}, "adamw.beta2");
  refuse(SgdSpec{.dampening = kNan}, "sgd.dampening");
  refuse(SgdSpec{.nesterov = true}, "sgd.nesterov");
  refuse(SgdSpec{.momentum = 0.9, .dampening = 0.1, .nesterov = true}, "sgd.nesterov");
}

TEST(ValidateTest, RefusesTheRestByField) {
  Refuse([](auto& s) { s.learning.clip_grad_norm = -1; }, "spec.learning.clip_grad_norm");
  Refuse([](auto& s) { s.learning.clip_grad_norm = kNan; }, "spec.learning.clip_grad_norm");
  Refuse([](auto& s) { s.in_features = -1; }, "spec.in_features");
  Refuse([](auto& s) { s.feature_names = {"a"}, s.in_features = 2; }, "spec.feature_names");
  Refuse([](auto& s) { s.class_names = {"a", "b", "c"}; }, "spec.class_names");
  Refuse(
      [](auto& s) {
        s.loss.kind = LossKind::kCrossEntropy;
        s.class_names = {"a", "b"};
      },
      "spec.class_names");
}

TEST(ValidateTest, RefusesWhatIsLargerThanItsLimits) {
  Refuse([](auto& s) { s.layers[0] = LinearSpec{101}; }, "spec.layers[0].linear.out_features",
         "LIMIT_EXCEEDED");
  Refuse([](auto& s) { s.in_features = 101; }, "spec.in_features", "LIMIT_EXCEEDED");
  Refuse(
      [](auto& s) {
        s.layers = {LinearSpec{100}, LinearSpec{100}};
      },
      "spec.layers", "LIMIT_EXCEEDED");
  EXPECT_TRUE(
      CheckSize(SpecOf({LinearSpec{10}}), 9, {.max_width = 10, .max_parameters = 100}).ok());
  ExpectRefused(CheckSize(SpecOf({LinearSpec{10}}), 10, {.max_width = 10, .max_parameters = 100}),
                "LIMIT_EXCEEDED");
  ExpectRefused(CheckSize(SpecOf({LinearSpec{1}}), 11, {.max_width = 10, .max_parameters = 100}),
                "LIMIT_EXCEEDED", "features");
}

TEST(ValidateTest, BinaryClassesMayShareOneOutput) {
  ModelSpec spec = SpecOf({LinearSpec{}}, AdamSpec{}, {.kind = LossKind::kBceWithLogits});
  spec.class_names = {"no", "yes"};
  EXPECT_TRUE(Validate(spec, Limits()).ok());
}

}  // namespace
}  // namespace lazynorm
