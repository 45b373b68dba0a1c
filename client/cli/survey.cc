#include "client/cli/survey.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/csv.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

// More different values than this are no classes.
constexpr size_t kMostValues = 10000;

// The different values of one column, as they first appear.
struct Values {
  std::string column;
  size_t position;
  std::vector<std::string> in_order;
  std::set<std::string> seen;
};

absl::Status Collect(CsvReader& table, std::vector<Values>* all) {
  CsvRow row;
  for (;;) {
    const absl::StatusOr<bool> found = table.Next(&row);
    if (!found.ok()) return found.status();
    if (!*found) return absl::OkStatus();
    for (Values& values : *all) {
      const std::string& cell = row[values.position];
      if (values.seen.insert(cell).second) values.in_order.push_back(cell);
      if (values.in_order.size() > kMostValues) {
        return table.ErrorAt(values.column, absl::StrCat("more than ", kMostValues,
                                                         " different values are no categories"));
      }
    }
  }
}

void SetTargets(std::vector<std::string> values, Survey* survey) {
  survey->targets_are_class_numbers = !values.empty();
  for (const std::string& value : values) {
    int number = 0;
    if (!absl::SimpleAtoi(value, &number) || number < 0) survey->targets_are_class_numbers = false;
    survey->largest_class = std::max(survey->largest_class, number);
  }
  survey->targets = std::move(values);
}

}  // namespace

absl::StatusOr<Survey> SurveyTable(const std::string& path, const ColumnOptions& options,
                                   bool with_targets) {
  const bool whole = with_targets || !options.one_hot.empty();
  Survey survey;
  if (path == "-") {
    if (!whole) return survey;
    return InputError(
        "standard input cannot be read twice, so its categories are not known: give a file, or "
        "create the model first with --like FILE");
  }
  absl::StatusOr<CsvReader> table = CsvReader::Open(path);
  if (!table.ok()) return table.status();
  std::vector<std::string> columns = options.one_hot;
  if (with_targets) columns.push_back(options.targets.front());
  std::vector<Values> all;
  for (const std::string& column : columns) {
    const absl::StatusOr<size_t> position = FindColumn(*table, column);
    if (!position.ok()) return position.status();
    all.push_back({column, *position, {}, {}});
  }
  if (whole) {
    if (absl::Status status = Collect(*table, &all); !status.ok()) return status;
  }
  if (with_targets) {
    SetTargets(std::move(all.back().in_order), &survey);
    all.pop_back();
  }
  for (Values& values : all) survey.categories[values.column] = std::move(values.in_order);
  const absl::StatusOr<FeatureEncoder> encoder =
      FeatureEncoder::Create(*table, options, survey.categories, v1::Model());
  if (!encoder.ok()) return encoder.status();
  survey.feature_names = encoder->names();
  return survey;
}

absl::StatusOr<bool> TargetsAreText(const std::string& path, const ColumnOptions& options) {
  if (path == "-") return false;
  absl::StatusOr<CsvReader> table = CsvReader::Open(path);
  if (!table.ok()) return table.status();
  const absl::StatusOr<size_t> position = FindColumn(*table, options.targets.front());
  if (!position.ok()) return position.status();
  CsvRow row;
  for (bool any = false;; any = true) {
    const absl::StatusOr<bool> found = table->Next(&row);
    if (!found.ok()) return found.status();
    if (!*found) return any;
    if (double number; absl::SimpleAtod(row[*position], &number)) return false;
  }
}

}  // namespace lazynorm
