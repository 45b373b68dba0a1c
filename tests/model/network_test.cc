#include "model/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "model/loss.h"
#include "tests/model/testing.h"
#include "tests/support/gradient_check.h"

namespace lazynorm {
namespace {

TEST(NetworkTest, NamesShapesAndOrderAreTorchs) {
  const Network network(
      {BatchNormSpec{}, LinearSpec{.out_features = 4}, ActivationSpec{},
       BatchNormSpec{.affine = false}, LinearSpec{.out_features = 2, .bias = false},
       BatchNormSpec{.track_running_stats = false}},
      3);
  std::vector<std::string> names;
  for (const StateTensor& t : network.Tensors(network.Start(Random(1)))) names.push_back(t.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"0.weight", "0.bias", "0.running_mean", "0.running_var",
                                      "0.num_batches_tracked", "1.weight", "1.bias",
                                      "3.running_mean", "3.running_var", "3.num_batches_tracked",
                                      "4.weight", "5.weight", "5.bias"}));
  const auto tensors = network.Tensors(network.Start(Random(1)));
  EXPECT_EQ(Find(tensors, "1.weight").shape, (std::vector<int64_t>{4, 3}));
  EXPECT_EQ(Find(tensors, "4.weight").shape, (std::vector<int64_t>{2, 4}));
  EXPECT_TRUE(Find(tensors, "0.num_batches_tracked").shape.empty());
  EXPECT_EQ(network.in_features(), 3);
  EXPECT_EQ(network.out_features(), 2);
  EXPECT_EQ(network.parameter_count(), 6 + 16 + 8 + 4);
}

TEST(NetworkTest, TensorsThatAreSetComeBack) {
  const Network network({LinearSpec{.out_features = 4}, BatchNormSpec{}}, 3);
  auto tensors = network.Tensors(network.Start(Random(1)));
  tensors[0].values[5] = 7;
  tensors[5].values[1] = 0;  // a variance may be 0
  tensors[6].int64_values[0] = 1234567890123;
  NetworkState state = network.Start(Random(2));
  ASSERT_TRUE(network.SetTensors(tensors, state).ok());
  ExpectSameTensors(network.Tensors(state), tensors);
  std::reverse(tensors.begin(), tensors.end());
  EXPECT_TRUE(network.SetTensors(tensors, state).ok()) << "in any order";
}

TEST(NetworkTest, TensorsThatDoNotFitAreRefusedByField) {
  const Network network({LinearSpec{.out_features = 4}, BatchNormSpec{}}, 3);
  const auto good = network.Tensors(network.Start(Random(1)));
  const auto refuse = [&](const std::function<void(std::vector<StateTensor>&)>& spoil,
                          const std::string& field) {
    auto tensors = good;
    spoil(tensors);
    NetworkState state = network.Start(Random(1));
    ExpectRefused(network.SetTensors(tensors, state), "INVALID_STATE", field);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  refuse([](auto& t) { t.pop_back(); }, "initial_state");
  refuse([](auto& t) { t.clear(); }, "initial_state");
  refuse([](auto& t) { t.push_back({"2.weight", {1}, {1}, {}}); }, "initial_state[7].name");
  refuse([](auto& t) { t.push_back(t[1]); }, "initial_state[7].name");
  refuse([](auto& t) { t[0].shape = {3, 4}; }, "initial_state[0].shape");
  refuse([](auto& t) { t[0].values.pop_back(); }, "initial_state[0]");
  refuse([](auto& t) { t[0].int64_values = {1}; }, "initial_state[0]");
  refuse([nan](auto& t) { t[0].values[2] = nan; }, "initial_state[0].values[2]");
  refuse([](auto& t) { t[4].values[1] = HUGE_VALF; }, "initial_state[4].values[1]");
  refuse([](auto& t) { t[5].values[3] = -1; }, "initial_state[5].values[3]");
  // One more batch could not be counted.
  refuse([](auto& t) { t[6].int64_values[0] = std::numeric_limits<int64_t>::max(); },
         "initial_state[6].int64_values[0]");
  refuse([](auto& t) { t[6].int64_values = {}; }, "initial_state[6]");
  refuse([](auto& t) { t[6].int64_values = {-1}; }, "initial_state[6].int64_values[0]");
}

// A pass through a network in training, with gradients by name.
std::vector<StateTensor> GradientsOf(const std::vector<LayerSpec>& layers, Mode mode) {
  Network network(layers, 4);
  const NetworkState state = network.Start(Random(3));
  NetworkState next = state;
  const StepContext step{mode, Random(1), state, next};
  const Matrix x = Normal(8, 4, 1);
  network.Forward(step, ViewOf(x));
  MatrixView gradient = network.OutputGradient(8);
  const Matrix probe = Normal(8, network.out_features(), 2);
  std::copy_n(probe.data(), probe.size(), gradient.data());
  network.Backward(step, gradient);
  return network.Gradients();
}

std::set<std::string> ZeroBiases(const std::vector<LayerSpec>& layers, Mode mode = Mode::kTrain) {
  std::set<std::string> names;
  for (const StateTensor& g : GradientsOf(layers, mode)) {
    const bool zero = std::all_of(g.values.begin(), g.values.end(), [](float v) { return v == 0; });
    if (zero) names.insert(g.name);
  }
  return names;
}

using Names = std::set<std::string>;

TEST(NetworkTest, BiasesThatABatchNormCancelsHaveAGradientOfExactlyZero) {
  const LayerSpec linear = LinearSpec{.out_features = 5}, norm = BatchNormSpec{};
  const LayerSpec tanh = ActivationSpec{.kind = ActivationKind::kTanh};
  const LayerSpec identity = ActivationSpec{.kind = ActivationKind::kIdentity};
  const LayerSpec plain = BatchNormSpec{.track_running_stats = false};
  EXPECT_EQ(ZeroBiases({linear, norm}), (Names{"0.bias"}));
  EXPECT_EQ(ZeroBiases({linear, linear, identity, norm}), (Names{"0.bias", "1.bias"}));
  EXPECT_EQ(ZeroBiases({norm, linear, norm, tanh, linear}), (Names{"0.bias", "1.bias"}));
  EXPECT_EQ(ZeroBiases({linear, norm, tanh, linear, norm}), (Names{"0.bias", "3.bias"}));
  EXPECT_EQ(ZeroBiases({linear, plain}), (Names{"0.bias"}));
  EXPECT_EQ(ZeroBiases({linear, plain}, Mode::kFrozen), (Names{"0.bias"}));
}

TEST(NetworkTest, OtherBiasesKeepTheirGradient) {
  const LayerSpec linear = LinearSpec{.out_features = 5}, norm = BatchNormSpec{};
  EXPECT_EQ(ZeroBiases({linear, ActivationSpec{.kind = ActivationKind::kTanh}, norm}), Names{});
  EXPECT_EQ(ZeroBiases({linear, DropoutSpec{.p = 0.3}, norm}), Names{});
  EXPECT_EQ(ZeroBiases({linear, norm}, Mode::kFrozen), Names{});
  EXPECT_EQ(ZeroBiases({norm, linear}), Names{});
  EXPECT_EQ(ZeroBiases({linear, linear}), Names{});
}

// d loss / d parameters of whole networks against differences of the loss.
void ExpectGradient(const std::vector<LayerSpec>& layers, Mode mode) {
  Network network(layers, 4);
  NetworkState state = network.Start(Random(5)), next = state;
  for (int i = 0; i < state.statistics.size(); ++i) state.statistics[i] += 0.3;
  const Rows rows = RegressionRows(10, 4, network.out_features(), 6);
  const LossSpec loss;
  const auto value = [&] {
    const StepContext step{mode, Random(1), state, next};
    return LossValue(loss, network.Forward(step, ViewOf(rows.x)), rows.batch());
  };
  const StepContext step{mode, Random(1), state, next};
  const ConstMatrixView out = network.Forward(step, ViewOf(rows.x));
  MatrixView gradient = network.OutputGradient(10);
  LossGradient(loss, out, rows.batch(), gradient);
  const float* g = network.Backward(step, gradient);
  const std::vector<float> got(g, g + network.parameter_count());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], Difference(state.parameters[i], 0.01f, value), 2e-3) << i;
  }
}

TEST(NetworkTest, GradientsOfWholeNetworksAgreeWithDifferences) {
  const LayerSpec silu = ActivationSpec{.kind = ActivationKind::kSilu};
  const std::vector<LayerSpec> layers = {BatchNormSpec{},
                                         LinearSpec{.out_features = 6},
                                         BatchNormSpec{},
                                         silu,
                                         DropoutSpec{.p = 0.3},
                                         LinearSpec{.out_features = 5},
                                         silu,
                                         LinearSpec{.out_features = 2}};
  ExpectGradient(layers, Mode::kTrain);
  ExpectGradient(layers, Mode::kFrozen);
  ExpectGradient({silu, BatchNormSpec{.affine = false}, LinearSpec{}, BatchNormSpec{.eps = 0.1}},
                 Mode::kTrain);
}

TEST(NetworkTest, RunningStatisticsAreConstantsToTheGradient) {
  const LayerSpec running = BatchNormSpec{.training_statistics = TrainingStatistics::kRunning};
  const LayerSpec silu = ActivationSpec{.kind = ActivationKind::kSilu};
  const std::vector<LayerSpec> layers = {running, LinearSpec{.out_features = 6}, running, silu,
                                         LinearSpec{.out_features = 2}};
  ExpectGradient(layers, Mode::kFrozen);
  // Training is that, with the statistics as the batch leaves them.
  const Rows rows = RegressionRows(10, 4, 2, 6);
  const auto gradient = [&](Mode mode, NetworkState& state, NetworkState& next) {
    Network network(layers, 4);
    const StepContext step{mode, Random(1), state, next};
    const ConstMatrixView out = network.Forward(step, ViewOf(rows.x));
    MatrixView grad_out = network.OutputGradient(10);
    LossGradient(LossSpec(), out, rows.batch(), grad_out);
    const float* g = network.Backward(step, grad_out);
    return std::vector<float>(g, g + network.parameter_count());
  };
  NetworkState state = Network(layers, 4).Start(Random(5)), next = state;
  const std::vector<float> trained = gradient(Mode::kTrain, state, next);
  NetworkState updated = state;
  updated.statistics = next.statistics;
  EXPECT_EQ(gradient(Mode::kFrozen, updated, next), trained);
  EXPECT_NE(gradient(Mode::kFrozen, state, next), trained);
}

TEST(NetworkTest, KnowsWhichLayerNeedsASecondRow) {
  const Network tracked({LinearSpec{}, BatchNormSpec{}}, 2);
  EXPECT_EQ(tracked.FirstBatchLayer(Mode::kTrain), 1);
  EXPECT_EQ(tracked.FirstBatchLayer(Mode::kFrozen), -1);
  EXPECT_EQ(tracked.FirstBatchLayer(Mode::kEval), -1);
  const Network untracked({LinearSpec{}, BatchNormSpec{.track_running_stats = false}}, 2);
  EXPECT_EQ(untracked.FirstBatchLayer(Mode::kEval), 1);
  EXPECT_FALSE(tracked.HasDropout());
  EXPECT_TRUE(Network({LinearSpec{}, DropoutSpec{}}, 2).HasDropout());
}

}  // namespace
}  // namespace lazynorm
