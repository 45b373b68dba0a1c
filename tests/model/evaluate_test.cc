#include "model/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "model/loss.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

Matrix Column(const std::vector<float>& values) {
  return Eigen::Map<const Matrix>(values.data(), values.size(), 1);
}

// Predictions and what they should have been.
struct Answers {
  Matrix out;
  Rows rows;
};

Answers Make(const Matrix& out, const Matrix& targets, std::vector<int32_t> labels = {},
             std::vector<float> weights = {}) {
  return {out, {Matrix::Zero(out.rows(), 1), targets, std::move(labels), std::move(weights)}};
}

Scores Score(const LossSpec& loss, const Answers& a) {
  Evaluator evaluator(loss, static_cast<int>(a.out.cols()));
  evaluator.Add(ViewOf(a.out), a.rows.batch());
  return evaluator.Result();
}

constexpr LossSpec kMse{.kind = LossKind::kMse};
constexpr LossSpec kBce{.kind = LossKind::kBceWithLogits};
constexpr LossSpec kCross{.kind = LossKind::kCrossEntropy};

TEST(EvaluateTest, RegressionScoresAreTheTextbooks) {
  const Scores s = Score(kMse, Make(Column({1, 2, 5}), Column({1, 4, 4})));
  EXPECT_EQ(s.rows, 3);
  EXPECT_DOUBLE_EQ(s.loss, 5.0 / 3);
  EXPECT_DOUBLE_EQ(*s.mean_absolute_error, 1);
  EXPECT_DOUBLE_EQ(*s.root_mean_squared_error, std::sqrt(5.0 / 3));
  EXPECT_DOUBLE_EQ(*s.r2, 1 - 5.0 / 6);  // total sum of squares: 4 + 1 + 1
  EXPECT_FALSE(s.accuracy.has_value());
  EXPECT_FALSE(s.log_loss.has_value());
  EXPECT_FALSE(s.roc_auc.has_value());
}

TEST(EvaluateTest, RegressionScoresAreWeighted) {
  const Answers weighted = Make(Column({1, 2, 9, 5}), Column({1, 4, 0, 4}), {}, {1, 2, 0, 1});
  const Answers repeated = Make(Column({1, 2, 2, 5}), Column({1, 4, 4, 4}));
  const Scores a = Score(kMse, weighted), b = Score(kMse, repeated);
  EXPECT_NEAR(a.loss, b.loss, 1e-14);
  EXPECT_NEAR(*a.mean_absolute_error, *b.mean_absolute_error, 1e-14);
  EXPECT_NEAR(*a.root_mean_squared_error, *b.root_mean_squared_error, 1e-14);
  EXPECT_NEAR(*a.r2, *b.r2, 1e-14);
  EXPECT_EQ(a.rows, 4);
}

TEST(EvaluateTest, R2AveragesTheOutputsAndIsAbsentForAConstantTarget) {
  Matrix out(3, 2), y(3, 2);
  out << 1, 10, 2, 20, 5, 40;
  y << 1, 10, 4, 20, 4, 30;
  EXPECT_NEAR(*Score(kMse, Make(out, y)).r2, (1 - 5.0 / 6 + 1 - 100.0 / 200) / 2, 1e-14);
  y.col(1).setConstant(0.1f);
  const Scores s = Score(kMse, Make(out, y));
  EXPECT_FALSE(s.r2.has_value());
  EXPECT_TRUE(s.mean_absolute_error.has_value());
}

TEST(EvaluateTest, R2OfTargetsFarFromZeroKeepsItsDigits) {
  const Scores s =
      Score(kMse, Make(Column({1e6f, 1e6f + 1, 1e6f + 2}), Column({1e6f, 1e6f + 1, 1e6f + 3})));
  EXPECT_NEAR(*s.r2, 1 - 1 / (14.0 / 3), 1e-10);
}

TEST(EvaluateTest, BinaryScoresAreTheTextbooks) {
  const Scores s = Score(kBce, Make(Column({2, -1, 0.5f, -3}), Matrix(), {1, 1, 0, 0}));
  const double log_loss = (std::log1p(std::exp(-2.0)) + std::log1p(std::exp(1.0)) +
                           std::log1p(std::exp(0.5)) + std::log1p(std::exp(-3.0))) /
                          4;
  EXPECT_NEAR(s.loss, log_loss, 1e-14);
  EXPECT_NEAR(*s.log_loss, log_loss, 1e-14);
  EXPECT_DOUBLE_EQ(*s.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(*s.roc_auc, 0.75);  // of the four pairs only (-1, 0.5) is the wrong way round
  EXPECT_FALSE(s.r2.has_value());
}

TEST(EvaluateTest, LogLossKnowsNoPositiveWeightButTheLossDoes) {
  const Answers a = Make(Column({2, -1}), Column({1, 0}));
  LossSpec loss = kBce;
  loss.pos_weight = 3;
  EXPECT_NEAR(*Score(loss, a).log_loss, Score(kBce, a).loss, 1e-15);
  EXPECT_GT(Score(loss, a).loss, Score(kBce, a).loss + 0.1);
}

TEST(EvaluateTest, TiesCountHalfInTheAreaUnderTheCurve) {
  const auto area = [](std::vector<float> scores, std::vector<int32_t> labels,
                       std::vector<float> weights = {}) {
    return Score(kBce, Make(Column(scores), Matrix(), labels, weights)).roc_auc;
  };
  EXPECT_DOUBLE_EQ(*area({1, 1, 1, 1}, {1, 0, 1, 0}), 0.5);
  EXPECT_DOUBLE_EQ(*area({0, 1, 1, 2}, {0, 0, 1, 1}), 3.5 / 4);
  EXPECT_DOUBLE_EQ(*area({2, 1}, {0, 1}), 0);
  EXPECT_DOUBLE_EQ(*area({0, 1, 1, 2}, {0, 0, 1, 1}, {1, 2, 1, 4}), (1 * (1 + 1) + 4 * 3) / 15.0);
  EXPECT_FALSE(area({1, 2}, {1, 1}).has_value());
  EXPECT_FALSE(area({1, 2, 3}, {1, 1, 0}, {1, 1, 0}).has_value());
}

TEST(EvaluateTest, AClassAgainstTheRestIsAveragedOverTheClassesSeen) {
  Matrix out(4, 3);
  out << 3, 0, 0, 0, 3, 0, 1, 2, 0, 2, 1, 0;
  const Scores s = Score(kCross, Make(out, Matrix(), {0, 1, 0, 1}));
  EXPECT_DOUBLE_EQ(*s.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(*s.roc_auc, 0.75);  // class 2 was never seen
  EXPECT_DOUBLE_EQ(*s.log_loss, s.loss);
  EXPECT_DOUBLE_EQ(s.loss,
                   LossValue(kCross, ViewOf(out), Make(out, Matrix(), {0, 1, 0, 1}).rows.batch()));
}

TEST(EvaluateTest, TwoClassesRankByTheDifferenceOfTheirLogits) {
  Matrix out(4, 2);
  out << 100, 101, 0, 3, -100, -98, 5, 5;
  EXPECT_DOUBLE_EQ(*Score(kCross, Make(out, Matrix(), {0, 1, 1, 0})).roc_auc, 1);
}

TEST(EvaluateTest, PiecesGiveWhatAllAtOnceGives) {
  for (const LossSpec& loss : {kMse, kBce, kCross}) {
    const int outputs = loss.kind == LossKind::kCrossEntropy ? 3 : 2;
    Answers all = Make(Normal(40, outputs, 1), Matrix(), {});
    if (loss.kind == LossKind::kCrossEntropy) {
      for (int i = 0; i < 40; ++i) all.rows.labels.push_back(static_cast<int>(Mix(i) % 3));
    } else {
      all.rows.y = (Normal(40, outputs, 2).array() > 0).cast<float>();
    }
    for (int i = 0; i < 40; ++i) all.rows.weights.push_back(Random(3).Uniform(i) + 0.1f);
    Evaluator evaluator(loss, outputs);
    for (int begin = 0, size = 1; begin < 40;
         begin += size, size = std::min(size + 2, 40 - begin)) {
      Batch piece = all.rows.batch();
      piece.features = {all.rows.x.data() + begin, size, 1};
      if (!all.rows.labels.empty()) piece.labels = piece.labels.subspan(begin, size);
      if (all.rows.y.size() > 0) {
        piece.targets = {all.rows.y.data() + begin * outputs, size, outputs};
      }
      piece.sample_weights = piece.sample_weights.subspan(begin, size);
      evaluator.Add(ConstMatrixView(all.out.data() + begin * outputs, size, outputs), piece);
    }
    const Scores once = Score(loss, all), pieces = evaluator.Result();
    EXPECT_EQ(pieces.rows, 40);
    EXPECT_NEAR(pieces.loss, once.loss, 1e-12);
    EXPECT_NEAR(pieces.r2.value_or(9), once.r2.value_or(9), 1e-12);
    EXPECT_NEAR(pieces.mean_absolute_error.value_or(9), once.mean_absolute_error.value_or(9),
                1e-12);
    EXPECT_NEAR(pieces.accuracy.value_or(9), once.accuracy.value_or(9), 1e-12);
    EXPECT_NEAR(pieces.roc_auc.value_or(9), once.roc_auc.value_or(9), 1e-12);
  }
}

TEST(EvaluateTest, AnOutputThatIsNotANumberLeavesNoAreaAndEnds) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Scores s = Score(kBce, Make(Column({1, nan, 2, nan, -1}), Matrix(), {1, 0, 0, 1, 0}));
  EXPECT_FALSE(s.roc_auc.has_value());
  EXPECT_TRUE(std::isnan(s.loss));
  Matrix out = Matrix::Constant(3, 2, std::numeric_limits<float>::infinity());
  EXPECT_FALSE(Score(kCross, Make(out, Matrix(), {0, 1, 0})).roc_auc.has_value());
}

TEST(EvaluateTest, BeyondTheMostThatIsRankedThereIsNoArea) {
  const int64_t rows = Evaluator::kMostRanked / 2;
  Answers a = Make(Matrix::Zero(rows, 1), Matrix(), std::vector<int32_t>(rows, 1));
  a.rows.labels[0] = 0;
  Evaluator evaluator(kBce, 1);
  evaluator.Add(ViewOf(a.out), a.rows.batch());
  evaluator.Add(ViewOf(a.out), a.rows.batch());
  EXPECT_DOUBLE_EQ(*evaluator.Result().roc_auc, 0.5);
  evaluator.Add(ViewOf(a.out), a.rows.batch());
  EXPECT_FALSE(evaluator.Result().roc_auc.has_value());
  EXPECT_TRUE(evaluator.Result().accuracy.has_value());
}

}  // namespace
}  // namespace lazynorm
