#include "client/cli/features.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

bool Contains(const std::vector<std::string>& list, absl::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

absl::Status CheckNamedColumns(const CsvReader& table, const ColumnOptions& options) {
  std::vector<std::string> named = options.targets;
  named.insert(named.end(), options.ignore.begin(), options.ignore.end());
  named.insert(named.end(), options.one_hot.begin(), options.one_hot.end());
  if (!options.date.empty()) named.push_back(options.date);
  if (!options.weight.empty()) named.push_back(options.weight);
  if (!options.id.empty()) named.push_back(options.id);
  for (const std::string& column : named) {
    if (auto found = FindColumn(table, column); !found.ok()) return found.status();
  }
  return absl::OkStatus();
}

bool IsFeature(absl::string_view column, const ColumnOptions& options) {
  // With --ahead the row's own value is known when its target is not: a feature.
  if (options.ahead == 0 && Contains(options.targets, column)) return false;
  if (Contains(options.optional_ignore, column)) return false;
  if (column == options.weight || column == options.id) return false;
  return !Contains(options.ignore, column);
}

}  // namespace

absl::StatusOr<size_t> FindColumn(const CsvReader& table, absl::string_view column) {
  const auto found = std::find(table.header().begin(), table.header().end(), column);
  if (found != table.header().end()) return found - table.header().begin();
  return InputError(absl::StrCat(table.name(), ": no column ", column, "; it has ",
                                 absl::StrJoin(table.header(), ", ")));
}

absl::StatusOr<float> ParseNumber(const CsvReader& table, const CsvRow& row, size_t column) {
  const std::string& cell = row[column];
  float value = 0;
  if (!absl::SimpleAtof(cell, &value)) {
    return table.ErrorAt(table.header()[column], absl::StrCat("\"", cell, "\" is not a number"));
  }
  if (!std::isfinite(value)) {
    return table.ErrorAt(table.header()[column],
                         absl::StrCat("\"", cell, "\" is not a finite float"));
  }
  return value;
}

absl::StatusOr<double> TimeOfYear(absl::string_view date) {
  std::string text(date);
  if (absl::EndsWith(text, "Z")) text.pop_back();
  if (text.size() == 10) text += "T00:00";
  if (text.size() == 16) text += ":00";
  if (text.size() > 10 && text[10] == ' ') text[10] = 'T';
  absl::CivilSecond second;
  if (text.size() != 19 || !absl::ParseCivilTime(text, &second)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", date, "\" is not a date like 2024-01-31 or 2024-01-31 12:00"));
  }
  const absl::CivilYear year(second);
  return static_cast<double>(second - absl::CivilSecond(year)) /
         static_cast<double>(absl::CivilSecond(year + 1) - absl::CivilSecond(year));
}

std::vector<std::string> CategoriesIn(const v1::Model& model, absl::string_view column) {
  const std::string prefix = absl::StrCat(column, "=");
  std::vector<std::string> categories;
  for (const std::string& name : model.spec().feature_names()) {
    if (absl::StartsWith(name, prefix)) categories.push_back(name.substr(prefix.size()));
  }
  return categories;
}

absl::StatusOr<FeatureEncoder> FeatureEncoder::Create(const CsvReader& table,
                                                      const ColumnOptions& options,
                                                      const Categories& categories,
                                                      const v1::Model& model) {
  if (absl::Status status = CheckNamedColumns(table, options); !status.ok()) return status;
  FeatureEncoder encoder;
  absl::Status status = AddSources(table.header(), options, categories, &encoder.sources_);
  if (status.ok() && model.spec().feature_names_size() > 0) {
    status = encoder.OrderLike(model, table.name());
  }
  if (!status.ok()) return status;
  if (encoder.sources_.empty()) {
    return InputError(absl::StrCat(table.name(), ": no column is left for the features"));
  }
  return encoder;
}

absl::Status FeatureEncoder::AddSources(const CsvRow& header, const ColumnOptions& options,
                                        const Categories& categories,
                                        std::vector<Source>* sources) {
  for (size_t i = 0; i < header.size(); ++i) {
    const std::string& column = header[i];
    if (!IsFeature(column, options)) continue;
    if (column == options.date) {
      sources->push_back({column + "_sin", i, Kind::kDateSin, ""});
      sources->push_back({column + "_cos", i, Kind::kDateCos, ""});
    } else if (Contains(options.one_hot, column)) {
      const auto found = categories.find(column);
      if (found == categories.end()) {
        return InputError(absl::StrCat("--one-hot ", column, ": its categories are not known"));
      }
      for (const std::string& category : found->second) {
        sources->push_back({absl::StrCat(column, "=", category), i, Kind::kOneHot, category});
      }
    } else {
      sources->push_back({column, i, Kind::kNumber, ""});
    }
  }
  return absl::OkStatus();
}

absl::Status FeatureEncoder::OrderLike(const v1::Model& model, const std::string& table) {
  std::map<std::string, Source> by_name;
  for (Source& source : sources_) by_name.emplace(source.name, std::move(source));
  sources_.clear();
  for (const std::string& name : model.spec().feature_names()) {
    auto found = by_name.find(name);
    if (found == by_name.end()) {
      return InputError(
          absl::StrCat(table, ": no feature ", name, ", which model ", model.model_id(), " needs"));
    }
    sources_.push_back(std::move(found->second));
    by_name.erase(found);
  }
  if (by_name.empty()) return absl::OkStatus();
  return InputError(absl::StrCat(table, ": ", by_name.begin()->first, " is not a feature of model ",
                                 model.model_id(), "; leave its column out with --ignore"));
}

std::vector<std::string> FeatureEncoder::names() const {
  std::vector<std::string> names;
  for (const Source& source : sources_) names.push_back(source.name);
  return names;
}

absl::Status FeatureEncoder::Encode(const CsvReader& table, const CsvRow& row,
                                    std::vector<float>* features) const {
  for (const Source& source : sources_) {
    if (source.kind == Kind::kOneHot) {
      features->push_back(row[source.column] == source.category ? 1 : 0);
    } else if (source.kind == Kind::kNumber) {
      const absl::StatusOr<float> value = ParseNumber(table, row, source.column);
      if (!value.ok()) return value.status();
      features->push_back(*value);
    } else {
      const absl::StatusOr<double> time = TimeOfYear(row[source.column]);
      if (!time.ok()) return table.ErrorAt(table.header()[source.column], time.status().message());
      const double angle = 2 * M_PI * *time;
      features->push_back(
          static_cast<float>(source.kind == Kind::kDateSin ? std::sin(angle) : std::cos(angle)));
    }
  }
  return absl::OkStatus();
}

}  // namespace lazynorm
