#include "tests/bench/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace lazynorm {
namespace {

// Four digits, or all of a whole part that is longer.
std::string Number(double value) {
  return value >= 1000 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.4g", value);
}

bool SameHead(const Row& a, const Row& b) {
  if (a.values.size() != b.values.size()) return false;
  for (size_t i = 0; i < a.values.size(); ++i) {
    if (a.values[i].first != b.values[i].first) return false;
  }
  return true;
}

void AddHead(const Row& row, std::string* table) {
  absl::StrAppendFormat(table, "\n%-34s%-15s", "", "");
  for (const auto& [name, value] : row.values) absl::StrAppendFormat(table, "%14s", name);
  absl::StrAppend(table, "\n");
}

}  // namespace

std::string ToTable(const std::vector<Row>& rows) {
  std::string table;
  const Row* before = nullptr;
  for (const Row& row : rows) {
    if (before == nullptr || !SameHead(*before, row)) AddHead(row, &table);
    const bool repeated = before != nullptr && before->what == row.what;
    absl::StrAppendFormat(&table, "%-34s%-15s", repeated ? "" : row.what, row.who);
    for (const auto& [name, value] : row.values) {
      absl::StrAppendFormat(&table, "%14s", value == 0 ? "-" : Number(value));
    }
    absl::StrAppend(&table, "\n");
    before = &row;
  }
  return table;
}

std::string ToJson(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    absl::StrAppendFormat(&text, "{\"what\": \"%s\", \"who\": \"%s\"", row.what, row.who);
    for (const auto& [name, value] : row.values) {
      absl::StrAppendFormat(&text, ", \"%s\": %s", name, Number(value));
    }
    absl::StrAppend(&text, "}\n");
  }
  return text;
}

}  // namespace lazynorm
