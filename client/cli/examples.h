#ifndef LAZYNORM_CLIENT_CLI_EXAMPLES_H_
#define LAZYNORM_CLIENT_CLI_EXAMPLES_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/csv.h"
#include "client/cli/features.h"
#include "lazynorm/v1/model_service.pb.h"

namespace lazynorm {

// One row of a table as a model takes it. Plain values.
struct Example {
  std::vector<float> features;
  std::vector<float> targets;  // empty for cross entropy
  int label = 0;               // cross entropy
  float weight = 1;
  std::string id;  // of the prediction
  // With --ahead, what the target columns hold in this very row.
  std::vector<float> present;
  int present_label = 0;
  std::string date;  // the date column's cell
  CsvRow cells;      // the row itself
};

// Reads a table as examples for one model. Thread-compatible.
class ExampleReader {
 public:
  // Opens `path` ("-": standard input). `categories` are used where the model names no features.
  // InputError: the file, or columns that do not fit the model (see FeatureEncoder); targets that
  // are not as many as the model's outputs, unless there are none, as in prediction.
  static absl::StatusOr<ExampleReader> Open(const std::string& path, const ColumnOptions& options,
                                            const Categories& categories, const v1::Model& model);

  // False at the end.
  absl::StatusOr<bool> Next(Example* example);

  CsvReader& table() { return table_; }
  const FeatureEncoder& encoder() const { return encoder_; }

 private:
  ExampleReader(CsvReader table, FeatureEncoder encoder, const ColumnOptions& options,
                const v1::Model& model);

  absl::Status FindColumns(const v1::Model& model);
  absl::Status FindOptional(const std::string& column, int* position) const;
  absl::Status CheckTargets(const v1::Model& model) const;
  absl::StatusOr<Example> ReadRow(const CsvRow& row);
  absl::Status ReadTargets(const CsvRow& row, Example* example) const;
  absl::StatusOr<int> ReadClass(const CsvRow& row, size_t column) const;

  CsvReader table_;
  FeatureEncoder encoder_;
  ColumnOptions options_;
  bool has_labels_;  // cross entropy
  absl::flat_hash_map<std::string, int> classes_;
  std::vector<size_t> target_columns_;
  int weight_column_ = -1;
  int date_column_ = -1;
  int id_column_ = -1;
  std::deque<Example> waiting_;  // for their targets, with --ahead
};

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_EXAMPLES_H_
