// What exact zeros for cancelled biases and double inside batch norm are worth, in one table.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "tests/model/testing.h"
#include "tests/support/golden.h"

namespace lazynorm {
namespace {

double Largest(const std::vector<double>& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::fabs(v));
  return largest;
}

// Trains a case, and says how far its eval predictions end from torch in float64, relative to the
// largest of them.
double Deviation(const Json& j) {
  auto learner = Learner::Create(ToSpec(j["spec"]), Limits(), GoldenState(j["initial_state"]));
  EXPECT_TRUE(learner.ok()) << learner.status();
  for (const Json& step : j["steps"]) {
    const GoldenBatch rows(step);
    const auto result = (*learner)->Apply(GoldenStep(step, rows));
    EXPECT_TRUE(result.ok()) << result.status();
  }
  double worst = 0;
  for (const Json& eval : j["eval"]) {
    const GoldenBatch rows(eval);
    const std::vector<double> want = Flat(eval["prediction"]);
    const auto got = (*learner)->MakePlan()->Predict(rows.batch().features);
    EXPECT_TRUE(got.ok()) << got.status();
    for (size_t i = 0; i < want.size(); ++i) {
      worst = std::max(worst, std::fabs(got->data()[i] - want[i]) / Largest(want));
    }
  }
  return worst;
}

TEST(ParityTest, PredictionsBehindCancelledBiasesUnderAdamStayWithFloat64) {
  std::printf("eval predictions against torch float64   torch float32   any float32   lazynorm\n");
  int compared = 0;
  for (const GoldenCase& c : GoldenCases()) {
    const std::string id = c.name.substr(0, 3);
    if (id != "p05" && id != "p06" && id != "p14" && id != "p40") continue;
    const Json& drift = c.json["drift"];
    const double plain = drift["any_float32"]["prediction"];
    const double ours = Deviation(c.json);
    std::printf("%-38s   %13.1e   %11.1e   %8.1e\n", c.name.c_str(),
                drift["torch_float32"]["prediction"].get<double>(), plain, ours);
    EXPECT_LT(ours, 1e-6) << c.name;
    EXPECT_LT(ours, plain / 100) << c.name;
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

TEST(ParityTest, NoGoldenPredictionIsFurtherThanSixMillionths) {
  for (const GoldenCase& c : GoldenCases()) EXPECT_LT(Deviation(c.json), 6e-6) << c.name;
}

}  // namespace
}  // namespace lazynorm
