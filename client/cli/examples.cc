#include "client/cli/examples.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/errors.h"

namespace lazynorm {

absl::StatusOr<ExampleReader> ExampleReader::Open(const std::string& path,
                                                  const ColumnOptions& options,
                                                  const Categories& categories,
                                                  const v1::Model& model) {
  absl::StatusOr<CsvReader> table = CsvReader::Open(path);
  if (!table.ok()) return table.status();
  absl::StatusOr<FeatureEncoder> encoder = FeatureEncoder();
  if (!options.without_features) {
    encoder = FeatureEncoder::Create(*table, options, categories, model);
  }
  if (!encoder.ok()) return encoder.status();
  ExampleReader reader(*std::move(table), *std::move(encoder), options, model);
  if (absl::Status status = reader.FindColumns(model); !status.ok()) return status;
  return reader;
}

ExampleReader::ExampleReader(CsvReader table, FeatureEncoder encoder, const ColumnOptions& options,
                             const v1::Model& model)
    : table_(std::move(table)),
      encoder_(std::move(encoder)),
      options_(options),
      has_labels_(model.spec().loss().kind() == v1::LOSS_KIND_CROSS_ENTROPY) {
  // With several outputs, the names of a BCE model's classes are those of its outputs.
  if (!has_labels_ && model.out_features() != 1) return;
  for (const std::string& name : model.spec().class_names()) {
    classes_.emplace(name, static_cast<int>(classes_.size()));
  }
}

absl::Status ExampleReader::FindColumns(const v1::Model& model) {
  for (const std::string& column : options_.targets) {
    const absl::StatusOr<size_t> found = FindColumn(table_, column);
    if (!found.ok()) return found.status();
    target_columns_.push_back(*found);
  }
  absl::Status status = FindOptional(options_.weight, &weight_column_);
  if (status.ok()) status = FindOptional(options_.date, &date_column_);
  if (status.ok()) status = FindOptional(options_.id, &id_column_);
  if (!status.ok() || target_columns_.empty()) return status;
  return CheckTargets(model);
}

absl::Status ExampleReader::FindOptional(const std::string& column, int* position) const {
  if (column.empty()) return absl::OkStatus();
  const absl::StatusOr<size_t> found = FindColumn(table_, column);
  if (found.ok()) *position = static_cast<int>(*found);
  return found.status();
}

absl::Status ExampleReader::CheckTargets(const v1::Model& model) const {
  const size_t expected = has_labels_ ? 1 : model.out_features();
  if (expected == 0) return absl::OkStatus();  // only the server will know
  if (target_columns_.size() == expected) return absl::OkStatus();
  return InputError(absl::StrCat("--target: model ", model.model_id(), " takes ", expected,
                                 expected == 1 ? " column" : " columns", ", got ",
                                 target_columns_.size()));
}

absl::StatusOr<bool> ExampleReader::Next(Example* example) {
  for (;;) {
    CsvRow row;
    const absl::StatusOr<bool> found = table_.Next(&row);
    if (!found.ok() || !*found) return found;
    absl::StatusOr<Example> read = ReadRow(row);
    if (!read.ok()) return read.status();
    waiting_.push_back(*std::move(read));
    if (waiting_.size() <= static_cast<size_t>(options_.ahead)) continue;
    const Example& newest = waiting_.back();
    std::vector<float> targets = newest.present;
    const int label = newest.present_label;
    *example = std::move(waiting_.front());
    example->targets = std::move(targets);
    example->label = label;
    waiting_.pop_front();
    return true;
  }
}

absl::StatusOr<Example> ExampleReader::ReadRow(const CsvRow& row) {
  Example example;
  absl::Status status = encoder_.Encode(table_, row, &example.features);
  if (status.ok()) status = ReadTargets(row, &example);
  if (!status.ok()) return status;
  if (weight_column_ >= 0) {
    const absl::StatusOr<float> weight = ParseNumber(table_, row, weight_column_);
    if (!weight.ok()) return weight.status();
    if (*weight < 0) return table_.ErrorAt(options_.weight, "a weight is negative");
    example.weight = *weight;
  }
  if (id_column_ >= 0) {
    example.id = row[id_column_];
    if (example.id.empty()) return table_.ErrorAt(options_.id, "an id is empty");
  }
  if (date_column_ >= 0) example.date = row[date_column_];
  example.cells = row;
  return example;
}

absl::Status ExampleReader::ReadTargets(const CsvRow& row, Example* example) const {
  for (const size_t column : target_columns_) {
    if (has_labels_ || !classes_.empty()) {
      const absl::StatusOr<int> label = ReadClass(row, column);
      if (!label.ok()) return label.status();
      if (has_labels_) {
        example->present_label = *label;
      } else {
        example->present.push_back(static_cast<float>(*label));
      }
    } else {
      const absl::StatusOr<float> value = ParseNumber(table_, row, column);
      if (!value.ok()) return value.status();
      example->present.push_back(*value);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> ExampleReader::ReadClass(const CsvRow& row, size_t column) const {
  const std::string& cell = row[column];
  if (const auto found = classes_.find(cell); found != classes_.end()) return found->second;
  const std::string& name = table_.header()[column];
  if (!has_labels_ && (cell == "0" || cell == "1")) return cell == "1";
  if (!classes_.empty()) {
    return table_.ErrorAt(name, absl::StrCat("\"", cell, "\" is not a class of the model"));
  }
  int label = 0;
  if (absl::SimpleAtoi(cell, &label) && label >= 0) return label;
  return table_.ErrorAt(name,
                        absl::StrCat("\"", cell,
                                     "\" is not a class number from 0 up, and the model has no "
                                     "class_names"));
}

}  // namespace lazynorm
