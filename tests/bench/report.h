#ifndef LAZYNORM_TESTS_BENCH_REPORT_H_
#define LAZYNORM_TESTS_BENCH_REPORT_H_

#include <string>
#include <utility>
#include <vector>

namespace lazynorm {

// One line of the result: what was measured, on whom, and the medians under their names. Ratios
// are medians of the ratios within a round.
struct Row {
  std::string what;  // "Predict 1x10, 16 in flight"
  std::string who;   // "lazynorm"
  std::vector<std::pair<std::string, double>> values;
};

// Rows one after another with the same names of values share one head.
std::string ToTable(const std::vector<Row>& rows);

// An object a line: {"what": ..., "who": ..., name: value, ...}.
std::string ToJson(const std::vector<Row>& rows);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_REPORT_H_
