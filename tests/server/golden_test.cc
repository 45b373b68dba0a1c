// Every golden case over the socket: CreateModel from its initial state, Train, Predict, Evaluate,
// GetModelState.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "server/convert/api.h"
#include "server/convert/spec.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

// A server for all cases, a model for each.
class ServedGoldenTest : public testing::TestWithParam<GoldenCase> {
 protected:
  class Door : public ServerFixture {
   public:
    using ServerFixture::client;
    using ServerFixture::SetUp;
    void TestBody() override {}
  };

  static void SetUpTestSuite() {
    door_ = new Door;
    door_->SetUp();
  }
  static void TearDownTestSuite() { delete std::exchange(door_, nullptr); }
  static Connection& client() { return door_->client(); }

  static Door* door_;
};
ServedGoldenTest::Door* ServedGoldenTest::door_ = nullptr;

// The rows of a golden step or evaluation, as a request.
template <class Request>
Request ToRequest(const std::string& model, const Json& json) {
  const GoldenBatch batch(json);
  Request request;
  request.set_model(model);
  *request.mutable_features() = MakeMatrix(batch.x.rows, batch.x.columns, batch.x.values);
  if (batch.y.labels.empty()) {
    *request.mutable_targets() = MakeMatrix(batch.y.rows, batch.y.columns, batch.y.values);
  }
  request.mutable_labels()->Assign(batch.y.labels.begin(), batch.y.labels.end());
  request.mutable_sample_weights()->Assign(batch.weights.begin(), batch.weights.end());
  return request;
}

v1::CreateModelRequest ToCreation(const std::string& model, const Json& j) {
  v1::CreateModelRequest request;
  request.set_model_id(model);
  *request.mutable_spec() = ToProto(ToSpec(j["spec"]));
  ToProto(GoldenState(j["initial_state"]), request.mutable_initial_state());
  return request;
}

// Floats in messages are allowed their own rounding beside the case's bar.
double WithRounding(const Json& tolerance, const Json& want) {
  double largest = 0;
  for (double w : Flat(want)) largest = std::max(largest, std::fabs(w));
  return tolerance.get<double>() + 6e-8 * largest;
}

Json StateWithRounding(const Json& tolerances, const Json& state) {
  Json wider;
  for (const auto& [name, tensor] : state.items()) {
    wider[name] = WithRounding(tolerances[name], tensor["data"]);
  }
  return wider;
}

void TrainAll(Connection& client, const std::string& model, const Json& j) {
  const Json& tolerance = j["tolerance"]["float64"];
  size_t checkpoint = 0;
  for (size_t t = 0; t < j["steps"].size(); ++t) {
    const Json& step = j["steps"][t];
    const std::string what = "step " + std::to_string(t + 1);
    auto request = ToRequest<v1::TrainRequest>(model, step);
    if (step.value("statistics", "") == "frozen") {
      request.set_statistics(v1::STATISTICS_MODE_FREEZE);
    }
    const auto answer = client.Train(request);
    ASSERT_TRUE(answer.ok()) << what << ": " << answer.error();
    EXPECT_EQ(answer->step(), static_cast<int64_t>(t + 1));
    ExpectGolden({answer->loss()}, step["loss"], tolerance["loss"][t], what + " loss");
    ExpectGolden({answer->prequential_loss()}, step["prequential_loss"],
                 tolerance["prequential_loss"][t], what + " prequential loss");
    const Json& points = j["checkpoints"];
    if (checkpoint < points.size() && points[checkpoint]["after_step"] == t + 1) {
      const Json& want = points[checkpoint]["state"];
      ExpectGoldenState(FromProto(client.State(model)->tensors()), want,
                        StateWithRounding(tolerance["checkpoints"][checkpoint], want),
                        "after " + what);
      ++checkpoint;
    }
  }
  EXPECT_EQ(checkpoint, j["checkpoints"].size());
}

void EvaluateAll(Connection& client, const std::string& model, const Json& j) {
  for (size_t i = 0; i < j["eval"].size(); ++i) {
    const Json& eval = j["eval"][i];
    const Json& tolerance = j["tolerance"]["float64"]["eval"][i];
    const auto request = ToRequest<v1::EvaluateRequest>(model, eval);
    v1::PredictRequest query;
    query.set_model(model);
    *query.mutable_features() = request.features();
    const auto y = client.Predict(query);
    ASSERT_TRUE(y.ok()) << y.error();
    const auto& values = y->predictions().values();
    ExpectGolden({values.begin(), values.end()}, eval["prediction"],
                 WithRounding(tolerance["prediction"], eval["prediction"]), "prediction");
    const auto scores = client.Evaluate(request);
    ASSERT_TRUE(scores.ok()) << scores.error();
    ExpectGolden({scores->loss()}, eval["loss"], tolerance["loss"], "eval loss");
  }
}

void RunCase(Connection& client, const std::string& model, const Json& j) {
  const auto created = client.Create(ToCreation(model, j));
  ASSERT_TRUE(created.ok()) << created.error();
  EXPECT_EQ(created->state(), v1::STATE_READY);
  EXPECT_EQ(created->in_features(), j["spec"]["input_width"].get<int>());
  ASSERT_NO_FATAL_FAILURE(TrainAll(client, model, j));
  EvaluateAll(client, model, j);
  EXPECT_EQ(client.Get(model)->step(), static_cast<int64_t>(j["steps"].size()));
  client.Delete(model);
}

TEST_P(ServedGoldenTest, AgreesWithTorchInFloat64) {
  RunCase(client(), "golden", GetParam().json);
}

INSTANTIATE_TEST_SUITE_P(All, ServedGoldenTest, testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param.name; });

// Linear(10, 1), then LazyBatchNorm1d, mean squared error, Adam with its defaults: written out in
// double, row by row, from the formulae of torch.
class FirstModelInDouble {
 public:
  FirstModelInDouble(const std::vector<float>& weight, float bias)
      : parameters_(weight.begin(), weight.end()) {
    parameters_.insert(parameters_.end(), {bias, 1.0, 0.0});  // then gamma and beta
    m_.resize(parameters_.size());
    v_.resize(parameters_.size());
  }

  // One step; returns the loss before it.
  double Step(const v1::Matrix& x, const v1::Matrix& y) {
    const int n = x.rows();
    std::vector<double> z(n), grad(13), dz(n);
    double mean = 0, variance = 0, loss = 0;
    for (int i = 0; i < n; ++i) {
      z[i] = parameters_[10];
      for (int c = 0; c < 10; ++c) z[i] += parameters_[c] * x.values(10 * i + c);
      mean += z[i] / n;
    }
    for (double v : z) variance += (v - mean) * (v - mean) / n;
    const double scale = 1 / std::sqrt(variance + 1e-5);
    double sum = 0, sum_hat = 0;
    for (int i = 0; i < n; ++i) {
      const double hat = (z[i] - mean) * scale;
      const double d = parameters_[11] * hat + parameters_[12] - y.values(i);
      loss += d * d / n;
      grad[11] += 2 * d / n * hat;
      grad[12] += 2 * d / n;
      dz[i] = 2 * d / n * parameters_[11];
      sum += dz[i] / n;
      sum_hat += dz[i] * hat / n;
    }
    for (int i = 0; i < n; ++i) {
      const double g = scale * (dz[i] - sum - (z[i] - mean) * scale * sum_hat);
      for (int c = 0; c < 10; ++c) grad[c] += g * x.values(10 * i + c);
    }  // that of the bias is 0
    running_mean_ += 0.1 * (mean - running_mean_);
    running_var_ += 0.1 * (variance * n / (n - 1) - running_var_);
    Adam(grad);
    return loss;
  }
  double Predict(const v1::Matrix& x, int i) const {
    double z = parameters_[10];
    for (int c = 0; c < 10; ++c) z += parameters_[c] * x.values(10 * i + c);
    return (z - running_mean_) / std::sqrt(running_var_ + 1e-5) * parameters_[11] + parameters_[12];
  }

 private:
  void Adam(const std::vector<double>& grad) {
    ++t_;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      m_[i] += 0.1 * (grad[i] - m_[i]);
      v_[i] += 0.001 * (grad[i] * grad[i] - v_[i]);
      const double root = std::sqrt(v_[i] / (1 - std::pow(0.999, t_))) + 1e-8;
      parameters_[i] -= 1e-3 * m_[i] / (1 - std::pow(0.9, t_)) / root;
    }
  }

  std::vector<double> parameters_, m_, v_;  // 10 weights, bias, gamma, beta
  double running_mean_ = 0, running_var_ = 1;
  int t_ = 0;
};

class FirstModelTest : public ServerFixture {};

TEST_F(FirstModelTest, GoldenCasesFiveAndSixAreThisModel) {
  int found = 0;
  for (const GoldenCase& c : GoldenCases()) {
    if (c.name.substr(0, 3) != "p05" && c.name.substr(0, 3) != "p06") continue;
    const Json& layers = c.json["spec"]["layers"];
    ASSERT_EQ(layers.size(), 2u);
    EXPECT_EQ(layers[0]["type"], "LazyLinear");
    EXPECT_EQ(layers[1]["type"], "LazyBatchNorm1d");
    EXPECT_EQ(c.json["spec"]["input_width"], 10);
    EXPECT_EQ(c.json["spec"]["optimizer"], Json({{"type", "Adam"}}));
    RunCase(client(), "golden", c.json);
    ++found;
  }
  EXPECT_EQ(found, 2);
}

// 100 rows of 10 random features in batches of 10, ten times over: 100 steps.
TEST_F(FirstModelTest, TenEpochsOfAHundredRandomRowsAreThoseOfTorchInDouble) {
  ASSERT_TRUE(client()
                  .Create("first",
                          "layers { linear { out_features: 1 } } layers { batch_norm {} } "
                          "loss { kind: LOSS_KIND_MSE } optimizer { adam {} } in_features: 10")
                  .ok());
  const auto start = client().State("first");
  const auto& weight = start->tensors(0).values();
  FirstModelInDouble model({weight.begin(), weight.end()}, start->tensors(1).values(0));
  for (int epoch = 0; epoch < 10; ++epoch) {
    for (int batch = 0; batch < 10; ++batch) {
      v1::TrainRequest request = RandomStep("first", 10, 10, batch);
      *request.mutable_targets() = RandomMatrix(10, 1, 100 + batch);
      const double expected = model.Step(request.features(), request.targets());
      const auto answer = client().Train(request);
      ASSERT_TRUE(answer.ok()) << answer.error();
      EXPECT_EQ(answer->step(), 10 * epoch + batch + 1);
      EXPECT_NEAR(answer->loss(), expected, 2e-5 * expected);
    }
  }
  const v1::PredictRequest query = RandomQuery("first", 20, 10, 999);
  const auto y = client().Predict(query);
  for (int i = 0; i < 20; ++i) {
    EXPECT_NEAR(y->predictions().values(i), model.Predict(query.features(), i), 2e-5);
  }
}

}  // namespace
}  // namespace lazynorm
