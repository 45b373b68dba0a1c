#include "model/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

Matrix Forward(double p, int index, Mode mode, const Random& step, const Matrix& x) {
  Dropout layer(DropoutSpec{.p = p}, index);
  NetworkState state;
  Matrix y(x.rows(), x.cols());
  layer.Forward({mode, step, state, state}, ViewOf(x), MatrixView(y.data(), y.rows(), y.cols()));
  return y;
}

const Matrix kOnes = Matrix::Ones(4, 8);

TEST(DropoutTest, TheMaskIsPinned) {
  const Matrix y = Forward(0.4, 2, Mode::kTrain, Random(1).Stream(5), kOnes);
  std::string mask;
  for (int i = 0; i < y.size(); ++i) mask += y.data()[i] == 0 ? '0' : '1';
  EXPECT_EQ(mask, "11011010110100111001111001011010");
}

TEST(DropoutTest, TheMaskDependsOnSeedStepAndLayerButNotOnTheNumbers) {
  const Random step = Random(1).Stream(5);
  const Matrix y = Forward(0.5, 2, Mode::kTrain, step, kOnes);
  EXPECT_EQ(Forward(0.5, 2, Mode::kTrain, step, 3 * kOnes), 3 * y);
  EXPECT_EQ(Forward(0.5, 2, Mode::kFrozen, step, kOnes), y);
  EXPECT_NE(Forward(0.5, 2, Mode::kTrain, Random(1).Stream(6), kOnes), y);
  EXPECT_NE(Forward(0.5, 2, Mode::kTrain, Random(2).Stream(5), kOnes), y);
  EXPECT_NE(Forward(0.5, 3, Mode::kTrain, step, kOnes), y);
}

TEST(DropoutTest, AShareOfPIsZeroAndTheRestKeepsTheMean) {
  const Matrix x = Matrix::Ones(200, 100);
  for (const double p : {0.1, 0.5, 0.9}) {
    const Matrix y = Forward(p, 0, Mode::kTrain, Random(1), x);
    const double dropped = (y.array() == 0).cast<double>().mean();
    EXPECT_NEAR(dropped, p, 5 * std::sqrt(p * (1 - p) / y.size()));
    EXPECT_FLOAT_EQ(y.maxCoeff(), static_cast<float>(1 / (1 - p)));
  }
}

TEST(DropoutTest, EvaluationAndAProbabilityOfZeroAreTheIdentity) {
  const Matrix x = Normal(4, 8, 1);
  EXPECT_EQ(Forward(0.5, 0, Mode::kEval, Random(1), x), x);
  EXPECT_EQ(Forward(0, 0, Mode::kTrain, Random(1), x), x);
}

TEST(DropoutTest, BackwardDropsWhatForwardDropped) {
  for (const Mode mode : {Mode::kTrain, Mode::kFrozen}) {
    Dropout layer(DropoutSpec{.p = 0.5}, 1);
    NetworkState state;
    const StepContext step{mode, Random(3), state, state};
    Matrix y(4, 8), grad(4, 8);
    MatrixView grad_view(grad.data(), 4, 8);
    layer.Forward(step, ViewOf(kOnes), MatrixView(y.data(), 4, 8));
    layer.Backward(step, ViewOf(kOnes), ViewOf(y), ViewOf(kOnes), nullptr, &grad_view);
    EXPECT_EQ(grad, y);
  }
}

// Layer i starts from the stream named i of the seed; steps must not draw from the same ones.
TEST(DropoutTest, AMaskHasNothingToDoWithTheInitialWeights) {
  ModelSpec spec = SpecOf({LinearSpec{.out_features = 64}, DropoutSpec{.p = 0.5}}, SgdSpec{.lr = 0},
                          LossSpec{.kind = LossKind::kL1});
  spec.in_features = 1;
  const auto learner = NewLearner(spec);
  const auto bias = Find(learner->Tensors(), "0.bias").values;
  Rows rows{Matrix::Zero(1, 1), Matrix::Constant(1, 64, -100), {}, {}};
  TrainOn(*learner, rows);
  const auto gradient = Find(learner->Gradients(), "0.bias").values;
  int agree = 0;
  for (int i = 0; i < 64; ++i) agree += (bias[i] < 0) == (gradient[i] == 0);
  EXPECT_GT(agree, 12);
  EXPECT_LT(agree, 52);
}

}  // namespace
}  // namespace lazynorm
