#ifndef LAZYNORM_CLIENT_CLI_FEATURES_H_
#define LAZYNORM_CLIENT_CLI_FEATURES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/csv.h"
#include "lazynorm/v1/model_service.pb.h"

namespace lazynorm {

// What each column of a table is for.
struct ColumnOptions {
  std::vector<std::string> targets;
  std::vector<std::string> ignore;
  std::vector<std::string> optional_ignore;  // likewise, and need not be there
  std::vector<std::string> one_hot;
  std::string date;    // "": none
  std::string weight;  // "": none
  std::string id;      // of the prediction; "": none
  // Only ids, targets and weights are read: the server remembers the features under the ids.
  bool without_features = false;
  int ahead = 0;  // > 0: the target is the target column's value this many rows later
};

// For each one-hot column its categories in order.
using Categories = std::map<std::string, std::vector<std::string>>;

// Turns the cells of a row into features. A plain column is one number; a one-hot column COLUMN is
// one "COLUMN=category" of 0 or 1 for each category (a value that is none of them: all 0); the date
// column is COLUMN_sin and COLUMN_cos of the time of the year. Immutable.
class FeatureEncoder {
 public:
  // Columns come in the order of `model`'s feature_names where it has them, which also give the
  // categories; else in the order of `header`, with `categories`.
  // InputError: a column named in `options` that is not in `header`, a feature of the model that
  // the table lacks, or a column that is no feature of the model.
  static absl::StatusOr<FeatureEncoder> Create(const CsvReader& table, const ColumnOptions& options,
                                               const Categories& categories,
                                               const v1::Model& model);

  // The features' names, in order.
  std::vector<std::string> names() const;

  // Appends the features of the latest row of `table` to `features`.
  absl::Status Encode(const CsvReader& table, const CsvRow& row,
                      std::vector<float>* features) const;

 private:
  enum class Kind { kNumber, kOneHot, kDateSin, kDateCos };
  struct Source {
    std::string name;
    size_t column;
    Kind kind;
    std::string category;
  };

  static absl::Status AddSources(const CsvRow& header, const ColumnOptions& options,
                                 const Categories& categories, std::vector<Source>* sources);
  absl::Status OrderLike(const v1::Model& model, const std::string& table);

  std::vector<Source> sources_;
};

// The position of `column` in the header. InputError: it is not there.
absl::StatusOr<size_t> FindColumn(const CsvReader& table, absl::string_view column);

// The cell as a number. InputError: it is none, or not a finite float.
absl::StatusOr<float> ParseNumber(const CsvReader& table, const CsvRow& row, size_t column);

// The share of the year gone by at a date "YYYY-MM-DD", with or without " HH:MM[:SS]" (or T for the
// space), in [0, 1). InvalidArgument: not such a date.
absl::StatusOr<double> TimeOfYear(absl::string_view date);

// The categories of `column` among feature names "COLUMN=category", in their order.
std::vector<std::string> CategoriesIn(const v1::Model& model, absl::string_view column);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_FEATURES_H_
