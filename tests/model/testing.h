#ifndef LAZYNORM_TESTS_MODEL_TESTING_H_
#define LAZYNORM_TESTS_MODEL_TESTING_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "model/batch.h"
#include "model/errors.h"
#include "model/kernels.h"
#include "model/learner.h"
#include "model/matrix.h"
#include "model/random.h"
#include "model/spec.h"

namespace lazynorm {

// What the tests of model/ share: rows to learn from, specs, and comparisons bit by bit.

// Independent normal numbers of this mean and standard deviation (Box & Muller 1958).
inline Matrix Normal(int64_t rows, int64_t columns, uint64_t seed, double mean = 0,
                     double deviation = 1) {
  const Random random(seed);
  Matrix m(rows, columns);
  for (int64_t i = 0; i < m.size(); ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(random.Uniform(2 * i))));
    const double angle = 2 * M_PI * random.Uniform(2 * i + 1);
    m.data()[i] = static_cast<float>(mean + deviation * radius * std::cos(angle));
  }
  return m;
}

// Rows with targets or labels, and the memory they live in.
struct Rows {
  Matrix x, y;
  std::vector<int32_t> labels;
  std::vector<float> weights;

  int64_t rows() const { return x.rows(); }
  Batch batch() const {
    return {
        .features = ViewOf(x), .targets = ViewOf(y), .labels = labels, .sample_weights = weights};
  }
};

// Normal features; targets that depend on them.
inline Rows RegressionRows(int64_t rows, int features, int outputs, uint64_t seed) {
  Rows r{Normal(rows, features, seed), Matrix(rows, outputs), {}, {}};
  for (int64_t i = 0; i < rows; ++i) {
    for (int k = 0; k < outputs; ++k) {
      r.y(i, k) = std::sin(r.x(i, k % features)) + 0.5f * r.x(i, features - 1);
    }
  }
  return r;
}

inline ModelSpec SpecOf(std::vector<LayerSpec> layers, OptimizerSpec optimizer = AdamSpec(),
                        LossSpec loss = LossSpec()) {
  ModelSpec spec;
  spec.layers = std::move(layers);
  spec.optimizer = optimizer;
  spec.loss = loss;
  spec.seed = 7;
  return spec;
}

// A model that must be creatable.
inline std::unique_ptr<Learner> NewLearner(const ModelSpec& spec,
                                           const std::vector<StateTensor>& state = {}) {
  auto learner = Learner::Create(spec, Limits(), state);
  EXPECT_TRUE(learner.ok()) << learner.status();
  return *std::move(learner);
}

// One step that must be accepted.
inline StepResult TrainOn(Learner& learner, const Rows& rows) {
  const auto result = learner.Apply(TrainCommand{.batch = rows.batch()});
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : StepResult();
}

inline Matrix PredictAll(const Learner& learner, const Matrix& x) {
  const auto y = learner.MakePlan()->Predict(ViewOf(x));
  EXPECT_TRUE(y.ok()) << y.status();
  return *y;
}

// Equal names, shapes and numbers, to the last bit.
inline void ExpectSameTensors(const std::vector<StateTensor>& a,
                              const std::vector<StateTensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].shape, b[i].shape);
    EXPECT_EQ(a[i].values, b[i].values) << a[i].name;
    EXPECT_EQ(a[i].int64_values, b[i].int64_values) << a[i].name;
  }
}

inline const StateTensor& Find(const std::vector<StateTensor>& tensors, const std::string& name) {
  for (const StateTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << "no tensor " << name;
  return tensors.front();
}

// An INVALID_ARGUMENT with this reason, and this field if one is given.
inline void ExpectRefused(const absl::Status& status, const std::string& reason,
                          const std::string& field = "") {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ReasonOf(status), reason) << status;
  if (!field.empty()) {
    EXPECT_EQ(FieldOf(status), field) << status;
  }
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_MODEL_TESTING_H_
