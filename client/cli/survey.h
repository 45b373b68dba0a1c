#ifndef LAZYNORM_CLIENT_CLI_SURVEY_H_
#define LAZYNORM_CLIENT_CLI_SURVEY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/features.h"

namespace lazynorm {

// What one pass over a table tells of it. Plain values.
struct Survey {
  Categories categories;                   // of the one-hot columns, as they first appear
  std::vector<std::string> feature_names;  // as FeatureEncoder makes them
  std::vector<std::string> targets;        // different values of the first target column, likewise
  // Whether those are all whole numbers from 0 up, and the largest.
  bool targets_are_class_numbers = false;
  int largest_class = 0;
};

// Reads `path` as far as it takes: all of a file with one-hot columns or `with_targets`, else its
// header. Of "-", which could not be read again, it reads and tells nothing. InputError: the file
// or its columns; "-" where values would have to be read.
absl::StatusOr<Survey> SurveyTable(const std::string& path, const ColumnOptions& options,
                                   bool with_targets);

// Whether the first target column of `path` has values and none of them is a number. It reads up to
// the first number. False of "-". InputError: the file or the column.
absl::StatusOr<bool> TargetsAreText(const std::string& path, const ColumnOptions& options);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_SURVEY_H_
