#ifndef LAZYNORM_TESTS_SUPPORT_GOLDEN_H_
#define LAZYNORM_TESTS_SUPPORT_GOLDEN_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "model/batch.h"
#include "model/command.h"
#include "model/network.h"
#include "model/spec.h"

namespace lazynorm {

// The golden cases of tests/golden/cases (tests/golden/README.md): models, their training steps,
// and what PyTorch makes of them in float64.

using Json = nlohmann::json;

struct GoldenCase {
  std::string name;
  Json json;
};

inline std::ostream& operator<<(std::ostream& out, const GoldenCase& c) {
  return out << c.name;
}

inline std::vector<GoldenCase> GoldenCases() {
  std::vector<GoldenCase> cases;
  const std::filesystem::path folder = std::filesystem::path(LAZYNORM_TEST_DATA) / "golden/cases";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    cases.push_back({entry.path().stem().string(), Json::parse(std::ifstream(entry.path()))});
  }
  std::sort(cases.begin(), cases.end(),
            [](const GoldenCase& a, const GoldenCase& b) { return a.name < b.name; });
  return cases;
}

// Rows as they stand in a case: a matrix, or class ids.
struct GoldenRows {
  int rows = 0, columns = 0;
  std::vector<float> values;
  std::vector<int32_t> labels;

  explicit GoldenRows(const Json& json) : rows(static_cast<int>(json.size())) {
    for (const Json& row : json) {
      if (row.is_number()) {
        labels.push_back(row.get<int>());
        continue;
      }
      columns = static_cast<int>(row.size());
      for (const Json& v : row) values.push_back(v.get<float>());
    }
  }
};

inline std::vector<float> GoldenWeights(const Json& step) {
  return step.contains("sample_weight") ? step["sample_weight"].get<std::vector<float>>()
                                        : std::vector<float>();
}

inline std::vector<double> Flat(const Json& json) {
  if (json.is_number()) return {json.get<double>()};
  std::vector<double> values;
  for (const Json& v : json) {
    const std::vector<double> inner = Flat(v);
    values.insert(values.end(), inner.begin(), inner.end());
  }
  return values;
}

// The bar: the case's own tolerance of float64 programs, and 2e-5 of the largest entry.
inline double GoldenBar(const std::vector<double>& want, double tolerance) {
  double largest = 0;
  for (double w : want) largest = std::max(largest, std::fabs(w));
  return tolerance + 2e-5 * largest + 1e-7;
}

inline void ExpectGolden(const std::vector<double>& got, const Json& want_json, double tolerance,
                         const std::string& what) {
  const std::vector<double> want = Flat(want_json);
  ASSERT_EQ(got.size(), want.size()) << what;
  const double bar = GoldenBar(want, tolerance);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_LE(std::fabs(got[i] - want[i]), bar)
        << what << " [" << i << "]: got " << got[i] << ", want " << want[i];
  }
}

inline std::vector<double> Values(const StateTensor& tensor) {
  std::vector<double> values(tensor.values.begin(), tensor.values.end());
  values.insert(values.end(), tensor.int64_values.begin(), tensor.int64_values.end());
  return values;
}

// Names, shapes and values of a whole state against a golden one.
inline void ExpectGoldenState(const std::vector<StateTensor>& got, const Json& want,
                              const Json& tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (const StateTensor& tensor : got) {
    ASSERT_TRUE(want.contains(tensor.name)) << what << " " << tensor.name;
    const Json& w = want[tensor.name];
    EXPECT_EQ(tensor.shape, w["shape"].get<std::vector<int64_t>>()) << what << " " << tensor.name;
    ExpectGolden(Values(tensor), w["data"], tolerance[tensor.name].get<double>(),
                 what + " " + tensor.name);
  }
}

inline std::vector<StateTensor> GoldenState(const Json& json) {
  std::vector<StateTensor> state;
  for (const auto& [name, tensor] : json.items()) {
    StateTensor t{name, tensor["shape"].get<std::vector<int64_t>>(), {}, {}};
    for (double v : Flat(tensor["data"])) {
      if (tensor.value("dtype", "") == "int64") {
        t.int64_values.push_back(static_cast<int64_t>(v));
      } else {
        t.values.push_back(static_cast<float>(v));
      }
    }
    state.push_back(t);
  }
  return state;
}

// The spec of a case, as torch's classes and arguments say it.
inline LayerSpec ToLayer(const Json& j) {
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

inline LossSpec ToLoss(const Json& j) {
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

inline OptimizerSpec ToOptimizer(const Json& j) {
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

inline ModelSpec ToSpec(const Json& j) {
  ModelSpec spec;
  for (const Json& layer : j["layers"]) spec.layers.push_back(ToLayer(layer));
  spec.loss = ToLoss(j["loss"]);
  spec.optimizer = ToOptimizer(j["optimizer"]);
  spec.learning.clip_grad_norm = j.value("clip_grad_norm", 0.0);
  return spec;
}

// A golden step or evaluation, with the memory that its batch looks at.
struct GoldenBatch {
  GoldenRows x, y;
  std::vector<float> weights;

  explicit GoldenBatch(const Json& j) : x(j["x"]), y(j["y"]), weights(GoldenWeights(j)) {}
  Batch batch() const {
    return {.features = ConstMatrixView(x.values.data(), x.rows, x.columns),
            .targets = ConstMatrixView(y.values.data(), y.values.empty() ? 0 : y.rows, y.columns),
            .labels = y.labels,
            .sample_weights = weights};
  }
};

inline TrainCommand GoldenStep(const Json& step, const GoldenBatch& rows) {
  return {.batch = rows.batch(), .freeze_statistics = step.value("statistics", "") == "frozen"};
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_GOLDEN_H_
