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

#include "model/network.h"

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

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_GOLDEN_H_
