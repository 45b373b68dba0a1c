#ifndef LAZYNORM_TESTS_BENCH_MEDIAN_H_
#define LAZYNORM_TESTS_BENCH_MEDIAN_H_

#include <algorithm>
#include <cstddef>
#include <vector>

namespace lazynorm {

// The value below which a share `q` of `values` lies; 0 of none.
inline double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto at = static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

inline double Median(std::vector<double> values) {
  return Quantile(std::move(values), 0.5);
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_MEDIAN_H_
