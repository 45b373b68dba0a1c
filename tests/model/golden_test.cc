// Every golden case through Learner::Apply and Plan::Predict.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/learner.h"
#include "model/loss.h"

namespace lazynorm {
namespace {

LayerSpec ToLayer(const Json& j) {
  static const std::map<std::string, ActivationKind> kinds = {
      {"Identity", ActivationKind::kIdentity},   {"ReLU", ActivationKind::kRelu},
      {"LeakyReLU", ActivationKind::kLeakyRelu}, {"ELU", ActivationKind::kElu},
      {"SELU", ActivationKind::kSelu},           {"GELU", ActivationKind::kGelu},
      {"SiLU", ActivationKind::kSilu},           {"Tanh", ActivationKind::kTanh},
      {"Sigmoid", ActivationKind::kSigmoid},     {"Softplus", ActivationKind::kSoftplus}};
  const std::string type = j["type"];
  if (type.find("Linear") != std::string::npos) {
    return LinearSpec{.out_features = j["out_features"], .bias = j.value("bias", true)};
  }
  if (type.find("BatchNorm1d") == std::string::npos) {
    return ActivationSpec{.kind = kinds.at(type),
                          .negative_slope = j.value("negative_slope", 0.01)};
  }
  BatchNormSpec spec{.eps = j.value("eps", 1e-5),
                     .affine = j.value("affine", true),
                     .track_running_stats = j.value("track_running_stats", true)};
  if (j.contains("momentum")) {
    spec.cumulative = j["momentum"].is_null();
    if (!spec.cumulative) spec.momentum = j["momentum"];
  }
  return spec;
}

LossSpec ToLoss(const Json& j) {
  static const std::map<std::string, LossKind> kinds = {
      {"MSELoss", LossKind::kMse},
      {"L1Loss", LossKind::kL1},
      {"SmoothL1Loss", LossKind::kSmoothL1},
      {"HuberLoss", LossKind::kHuber},
      {"BCEWithLogitsLoss", LossKind::kBceWithLogits},
      {"CrossEntropyLoss", LossKind::kCrossEntropy}};
  return {.kind = kinds.at(j["type"]),
          .beta = j.value("beta", 1.0),
          .delta = j.value("delta", 1.0),
          .pos_weight = j.value("pos_weight", 1.0)};
}

template <class Spec>
Spec ToAdam(const Json& j) {
  Spec s;
  s.lr = j.value("lr", s.lr);
  if (j.contains("betas")) {
    s.beta1 = j["betas"][0];
    s.beta2 = j["betas"][1];
  }
  s.eps = j.value("eps", s.eps);
  s.weight_decay = j.value("weight_decay", s.weight_decay);
  s.amsgrad = j.value("amsgrad", false);
  return s;
}

OptimizerSpec ToOptimizer(const Json& j) {
  const std::string type = j["type"];
  if (type == "Adam") return ToAdam<AdamSpec>(j);
  if (type == "AdamW") return ToAdam<AdamWSpec>(j);
  if (type == "SGD") {
    return SgdSpec{.lr = j["lr"],
                   .momentum = j.value("momentum", 0.0),
                   .dampening = j.value("dampening", 0.0),
                   .weight_decay = j.value("weight_decay", 0.0),
                   .nesterov = j.value("nesterov", false)};
  }
  if (type == "RMSprop") {
    return RmsPropSpec{.lr = j.value("lr", 1e-2),
                       .alpha = j.value("alpha", 0.99),
                       .eps = j.value("eps", 1e-8),
                       .weight_decay = j.value("weight_decay", 0.0),
                       .momentum = j.value("momentum", 0.0),
                       .centered = j.value("centered", false)};
  }
  EXPECT_EQ(type, "Adagrad");
  return AdagradSpec{.lr = j.value("lr", 1e-2),
                     .lr_decay = j.value("lr_decay", 0.0),
                     .weight_decay = j.value("weight_decay", 0.0),
                     .initial_accumulator_value = j.value("initial_accumulator_value", 0.0),
                     .eps = j.value("eps", 1e-10)};
}

ModelSpec ToSpec(const Json& j) {
  ModelSpec spec;
  for (const Json& layer : j["layers"]) spec.layers.push_back(ToLayer(layer));
  spec.loss = ToLoss(j["loss"]);
  spec.optimizer = ToOptimizer(j["optimizer"]);
  spec.learning.clip_grad_norm = j.value("clip_grad_norm", 0.0);
  return spec;
}

// A golden step or evaluation, with the memory that its batch looks at.
struct Rows {
  GoldenRows x, y;
  std::vector<float> weights;

  explicit Rows(const Json& j) : x(j["x"]), y(j["y"]), weights(GoldenWeights(j)) {}
  Batch batch() const {
    return {.features = ConstMatrixView(x.values.data(), x.rows, x.columns),
            .targets = ConstMatrixView(y.values.data(), y.values.empty() ? 0 : y.rows, y.columns),
            .labels = y.labels,
            .sample_weights = weights};
  }
};

class GoldenTest : public testing::TestWithParam<GoldenCase> {};

void RunSteps(const Json& j, Learner& learner) {
  const Json& tolerance = j["tolerance"]["float64"];
  size_t checkpoint = 0;
  for (size_t t = 0; t < j["steps"].size(); ++t) {
    const Json& step = j["steps"][t];
    const std::string what = "step " + std::to_string(t + 1);
    const Rows rows(step);
    const auto result = learner.Apply(TrainCommand{
        .batch = rows.batch(), .freeze_statistics = step.value("statistics", "") == "frozen"});
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectGolden({result->loss}, step["loss"], tolerance["loss"][t], what + " loss");
    ExpectGolden({result->prequential_loss}, step["prequential_loss"],
                 tolerance["prequential_loss"][t], what + " prequential loss");
    ExpectGolden({learner.diagnostics().gradient_norm}, step["grad_norm"],
                 tolerance["grad_norm"][t], what + " gradient norm");
    if (t == 0) {
      double largest = 0;
      for (const Json& g : step["grads"])
        largest = std::max(largest, GoldenBar(Flat(g["data"]), 0));
      for (const StateTensor& g : learner.Gradients()) {
        ExpectGolden(Values(g), step["grads"][g.name]["data"],
                     tolerance["grads"][g.name].get<double>() + largest, what + " " + g.name);
      }
    }
    const Json& points = j["checkpoints"];
    if (checkpoint < points.size() && points[checkpoint]["after_step"] == t + 1) {
      ExpectGoldenState(learner.Tensors(), points[checkpoint]["state"],
                        tolerance["checkpoints"][checkpoint], "after " + what);
      ++checkpoint;
    }
  }
  EXPECT_EQ(checkpoint, j["checkpoints"].size());
}

TEST_P(GoldenTest, LearnerAndPlanAgreeWithTorchInFloat64) {
  const Json& j = GetParam().json;
  const ModelSpec spec = ToSpec(j["spec"]);
  auto learner = Learner::Create(spec, Limits(), GoldenState(j["initial_state"]));
  ASSERT_TRUE(learner.ok()) << learner.status();
  EXPECT_EQ((*learner)->in_features(), j["spec"]["input_width"].get<int>());
  RunSteps(j, **learner);
  const auto plan = (*learner)->MakePlan();
  for (size_t i = 0; i < j["eval"].size(); ++i) {
    const Rows rows(j["eval"][i]);
    const auto y = plan->Predict(rows.batch().features);
    ASSERT_TRUE(y.ok()) << y.status();
    const Json& tolerance = j["tolerance"]["float64"]["eval"][i];
    ExpectGolden(std::vector<double>(y->data(), y->data() + y->size()), j["eval"][i]["prediction"],
                 tolerance["prediction"], "prediction");
    ExpectGolden({LossValue(spec.loss, ViewOf(*y), rows.batch())}, j["eval"][i]["loss"],
                 tolerance["loss"], "eval loss");
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lazynorm
