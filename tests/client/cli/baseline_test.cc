#include "client/cli/baseline.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace lazynorm {
namespace {

v1::Model ModelWith(v1::LossKind loss, int outputs = 1) {
  v1::Model model;
  model.mutable_spec()->mutable_loss()->set_kind(loss);
  model.set_out_features(outputs);
  return model;
}

Example Row(std::vector<float> targets, std::vector<float> present = {}) {
  return {.targets = std::move(targets), .present = std::move(present)};
}

Example Class(int label, int present = 0) {
  return {.label = label, .present_label = present};
}

TEST(BaselineTest, PersistenceForecastsTheTargetBefore) {
  auto baseline = *MakeBaseline("persistence", ModelWith(v1::LOSS_KIND_MSE), false);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({3})), 9);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({5})), 4);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({5})), 0);
}

TEST(BaselineTest, PersistenceAheadForecastsTheRowsOwnValue) {
  auto baseline = *MakeBaseline("persistence", ModelWith(v1::LOSS_KIND_L1), true);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({3}, {2})), 1);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({7}, {10})), 3);
}

TEST(BaselineTest, MeanForecastsTheMeanOfTheTargetsBefore) {
  auto baseline = *MakeBaseline("mean", ModelWith(v1::LOSS_KIND_L1), false);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({2})), 2);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({4})), 2);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({9})), 6);
}

TEST(BaselineTest, OutputsAreAveraged) {
  auto baseline = *MakeBaseline("persistence", ModelWith(v1::LOSS_KIND_MSE, 2), false);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({1, 3})), 5);
}

TEST(BaselineTest, MajorityIsTheLogLossOfSmoothedFrequencies) {
  auto baseline = *MakeBaseline("majority", ModelWith(v1::LOSS_KIND_CROSS_ENTROPY, 3), false);
  EXPECT_DOUBLE_EQ(baseline->Score(Class(1)), std::log(3));
  EXPECT_DOUBLE_EQ(baseline->Score(Class(1)), -std::log(2.0 / 4));
  EXPECT_DOUBLE_EQ(baseline->Score(Class(2)), -std::log(1.0 / 5));
}

TEST(BaselineTest, PersistenceOfClassesLearnsHowOftenTheyRepeat) {
  auto baseline = *MakeBaseline("persistence", ModelWith(v1::LOSS_KIND_CROSS_ENTROPY, 3), false);
  EXPECT_DOUBLE_EQ(baseline->Score(Class(1)), std::log(3));
  EXPECT_DOUBLE_EQ(baseline->Score(Class(1)), -std::log(1.0 / 2));
  EXPECT_DOUBLE_EQ(baseline->Score(Class(0)), -std::log((1 - 2.0 / 3) / 2));
}

TEST(BaselineTest, BinaryTargetsAreClassesOfTheirOutput) {
  v1::Model model = ModelWith(v1::LOSS_KIND_BCE_WITH_LOGITS, 1);
  model.mutable_spec()->mutable_loss()->set_pos_weight(3);
  auto baseline = *MakeBaseline("majority", model, false);
  EXPECT_DOUBLE_EQ(baseline->Score(Row({1})), 3 * std::log(2));
  EXPECT_DOUBLE_EQ(baseline->Score(Row({0})), -std::log(1.0 / 3));
}

TEST(BaselineTest, AKindThatDoesNotFitTheLossIsRefused) {
  EXPECT_FALSE(MakeBaseline("majority", ModelWith(v1::LOSS_KIND_MSE), false).ok());
  EXPECT_FALSE(MakeBaseline("mean", ModelWith(v1::LOSS_KIND_CROSS_ENTROPY, 2), false).ok());
}

TEST(BaselineTest, ElementLossesAreTorchs) {
  v1::Loss loss;
  loss.set_kind(v1::LOSS_KIND_SMOOTH_L1);
  loss.set_beta(2);
  EXPECT_DOUBLE_EQ(ElementLoss(loss, 0, 1), 0.25);
  EXPECT_DOUBLE_EQ(ElementLoss(loss, 0, 5), 4);
  loss.set_kind(v1::LOSS_KIND_HUBER);
  loss.set_delta(2);
  EXPECT_DOUBLE_EQ(ElementLoss(loss, 0, 1), 0.5);
  EXPECT_DOUBLE_EQ(ElementLoss(loss, 5, 0), 8);
}

TEST(BaselineTest, OnlyASquaredLossIsShownAsItsRoot) {
  EXPECT_DOUBLE_EQ(ErrorOf(v1::LOSS_KIND_MSE, 9), 3);
  EXPECT_DOUBLE_EQ(ErrorOf(v1::LOSS_KIND_L1, 9), 9);
}

}  // namespace
}  // namespace lazynorm
