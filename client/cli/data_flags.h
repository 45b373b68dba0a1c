#ifndef LAZYNORM_CLIENT_CLI_DATA_FLAGS_H_
#define LAZYNORM_CLIENT_CLI_DATA_FLAGS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/cli/examples.h"
#include "client/cli/features.h"
#include "lazynorm/v1/model_service.pb.h"

namespace lazynorm {

// Adds the options that say what the columns of a table are for: --target, --ignore, --one-hot and
// --date; --weight and --ahead too if `with_targets`.
void AddColumnOptions(CLI::App* command, ColumnOptions* columns, bool with_targets);

// Adds an option that takes values separated by commas and may be repeated.
template <typename Value>
CLI::Option* AddListOption(CLI::App* command, const std::string& name, std::vector<Value>* values,
                           const std::string& description, const std::string& type) {
  // One argument an occurrence, or it would swallow the positionals behind it.
  return command->add_option(name, *values, description)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name(type);
}

// Opens `path` for `model`. Categories of one-hot columns are those of the model's feature_names,
// or, if it has none, come from a first pass over the file.
absl::StatusOr<ExampleReader> OpenExamples(const std::string& path, const ColumnOptions& columns,
                                           const v1::Model& model);

// InputError: no --target.
absl::Status NeedTarget(const ColumnOptions& columns);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_DATA_FLAGS_H_
