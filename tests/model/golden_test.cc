// Every golden case through Learner::Apply and Plan::Predict, on every level of the kernels.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "model/kernels.h"
#include "model/learner.h"
#include "model/loss.h"

namespace lazynorm {
namespace {

class GoldenTest : public testing::TestWithParam<std::tuple<std::string, GoldenCase>> {
 protected:
  void SetUp() override { ASSERT_TRUE(UseKernels(std::get<0>(GetParam()))); }
  void TearDown() override { UseKernels(AvailableKernels().front()->level); }
};

void RunSteps(const Json& j, Learner& learner) {
  const Json& tolerance = j["tolerance"]["float64"];
  size_t checkpoint = 0;
  for (size_t t = 0; t < j["steps"].size(); ++t) {
    const Json& step = j["steps"][t];
    const std::string what = "step " + std::to_string(t + 1);
    const GoldenBatch rows(step);
    const auto result = learner.Apply(GoldenStep(step, rows));
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
  const Json& j = std::get<1>(GetParam()).json;
  const ModelSpec spec = ToSpec(j["spec"]);
  auto learner = Learner::Create(spec, Limits(), GoldenState(j["initial_state"]));
  ASSERT_TRUE(learner.ok()) << learner.status();
  EXPECT_EQ((*learner)->in_features(), j["spec"]["input_width"].get<int>());
  RunSteps(j, **learner);
  const auto plan = (*learner)->MakePlan();
  for (size_t i = 0; i < j["eval"].size(); ++i) {
    const GoldenBatch rows(j["eval"][i]);
    const auto y = plan->Predict(rows.batch().features);
    ASSERT_TRUE(y.ok()) << y.status();
    const Json& tolerance = j["tolerance"]["float64"]["eval"][i];
    ExpectGolden(std::vector<double>(y->data(), y->data() + y->size()), j["eval"][i]["prediction"],
                 tolerance["prediction"], "prediction");
    ExpectGolden({LossValue(spec.loss, ViewOf(*y), rows.batch())}, j["eval"][i]["loss"],
                 tolerance["loss"], "eval loss");
  }
}

std::vector<std::string> Levels() {
  std::vector<std::string> names;
  for (const Kernels* kernels : AvailableKernels()) names.emplace_back(kernels->level);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         testing::Combine(testing::ValuesIn(Levels()),
                                          testing::ValuesIn(GoldenCases())),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param).name;
                         });

}  // namespace
}  // namespace lazynorm
