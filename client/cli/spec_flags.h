#ifndef LAZYNORM_CLIENT_CLI_SPEC_FLAGS_H_
#define LAZYNORM_CLIENT_CLI_SPEC_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/features.h"
#include "lazynorm/v1/spec.pb.h"

namespace lazynorm {

// The options that describe a model, as given. What is not given is left to the server's defaults.
struct SpecFlags {
  std::string file;  // --spec
  std::string preset = "stream";
  std::vector<int> hidden;
  int outputs = 0;
  std::string activation, loss, optimizer;
  std::optional<double> lr, momentum, weight_decay;
  bool normalize_input = false;
  double dropout = 0;
  std::optional<double> clip_grad_norm;
  uint64_t seed = 0;
  int in_features = 0;
  std::vector<std::string> feature_names, class_names;
  std::vector<CLI::Option*> options;  // these themselves; the command owns them
};

// Adds them all to `command`.
void AddSpecOptions(CLI::App* command, SpecFlags* flags);

// The name of the first of them on the command line, "" if none is.
std::string FirstGiven(const SpecFlags& flags);

// The spec that the flags ask for. InputError: a file that cannot be read or is no ModelSpec, short
// flags beside it, or a momentum for an optimizer that has none.
absl::StatusOr<v1::ModelSpec> ToSpec(const SpecFlags& flags);

// Fills in what `path` tells and the spec leaves open: feature_names; cross entropy, where an mlp's
// targets are text; and for cross entropy class_names (unless classes are numbers) and the number
// of outputs. InputError: the table.
absl::Status FitToTable(const std::string& path, const ColumnOptions& columns, v1::ModelSpec* spec);

// Fills in the preset, last of all.
void ApplyPreset(const SpecFlags& flags, v1::ModelSpec* spec);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_SPEC_FLAGS_H_
