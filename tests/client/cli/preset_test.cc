#include "client/cli/preset.h"

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"

namespace lazynorm {
namespace {

v1::ModelSpec Preset(const std::string& text, bool keep_clip = false) {
  v1::ModelSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec));
  ApplyStreamPreset(keep_clip, &spec);
  return spec;
}

TEST(PresetTest, NothingGivenIsANetworkOfRunningStatisticsAndFourExperts) {
  const v1::ModelSpec spec = Preset("mlp {}");
  EXPECT_FALSE(spec.has_mlp());
  ASSERT_EQ(spec.layers_size(), 8);
  for (const int layer : {0, 2, 5}) {
    EXPECT_EQ(spec.layers(layer).batch_norm().training_statistics(),
              v1::TRAINING_STATISTICS_RUNNING);
    EXPECT_EQ(spec.layers(layer).batch_norm().momentum(), 0.003);
  }
  EXPECT_EQ(spec.layers(1).linear().out_features(), 32);
  EXPECT_EQ(spec.layers(4).linear().out_features(), 16);
  EXPECT_EQ(spec.layers(7).linear().out_features(), 0);  // the server's default
  EXPECT_EQ(spec.optimizer().adam().lr(), 0.01);
  EXPECT_EQ(spec.learning().clip_grad_norm(), 1);
  EXPECT_TRUE(spec.learning().normalize_targets());
  ASSERT_EQ(spec.learning().experts_size(), 4);
  EXPECT_FALSE(spec.learning().experts(0).has_replay());
  EXPECT_EQ(spec.learning().experts(2).replay().rows_per_step(), 64);
  EXPECT_EQ(spec.learning().experts(2).updates_per_request(), 6);
}

TEST(PresetTest, WhatIsGivenStays) {
  const v1::ModelSpec spec = Preset(
      "mlp { hidden: 5 out_features: 3 activation: ACTIVATION_KIND_TANH dropout: 0.2 }"
      "optimizer { adam { lr: 0.5 } } learning { clip_grad_norm: 7 } seed: 4",
      /*keep_clip=*/true);
  ASSERT_EQ(spec.layers_size(), 6);
  EXPECT_EQ(spec.layers(1).linear().out_features(), 5);
  EXPECT_EQ(spec.layers(3).activation().kind(), v1::ACTIVATION_KIND_TANH);
  EXPECT_EQ(spec.layers(4).dropout().p(), 0.2);
  EXPECT_EQ(spec.layers(5).linear().out_features(), 3);
  EXPECT_EQ(spec.optimizer().adam().lr(), 0.5);
  EXPECT_EQ(spec.learning().clip_grad_norm(), 7);
  EXPECT_EQ(spec.seed(), 4u);
}

TEST(PresetTest, AnotherOptimizerKeepsItsOwnRate) {
  const v1::ModelSpec spec = Preset("mlp {} optimizer { sgd { momentum: 0.9 } }");
  EXPECT_TRUE(spec.optimizer().has_sgd());
  EXPECT_FALSE(spec.optimizer().sgd().has_lr());
}

TEST(PresetTest, ClassesAreNotNormalised) {
  EXPECT_FALSE(
      Preset("mlp {} loss { kind: LOSS_KIND_CROSS_ENTROPY }").learning().normalize_targets());
  EXPECT_FALSE(
      Preset("mlp {} loss { kind: LOSS_KIND_BCE_WITH_LOGITS }").learning().normalize_targets());
  EXPECT_TRUE(Preset("mlp {} loss { kind: LOSS_KIND_HUBER }").learning().normalize_targets());
}

}  // namespace
}  // namespace lazynorm
