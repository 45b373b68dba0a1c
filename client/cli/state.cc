#include <algorithm>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm state demand\n"
    "  lazynorm state demand --output json > state.json\n"
    "Names are those of a torch.nn.Sequential's state_dict; json has every number.";

struct StateFlags {
  std::string model;
  Format output = Format::kTable;
};

// name, shape, mean, min, max
template <typename Values>
CsvRow Summarize(const v1::NamedTensor& tensor, const Values& values) {
  CsvRow row = {tensor.name(), absl::StrCat("[", absl::StrJoin(tensor.shape(), ", "), "]")};
  if (values.empty()) {
    row.insert(row.end(), 3, "-");
    return row;
  }
  double sum = 0;
  for (const auto value : values) sum += static_cast<double>(value);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  row.push_back(FormatNumber(sum / values.size()));
  row.push_back(FormatNumber(static_cast<double>(*low)));
  row.push_back(FormatNumber(static_cast<double>(*high)));
  return row;
}

absl::Status ShowState(const Session& session, const StateFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::GetModelStateResponse> state = client->GetModelState(flags.model);
  if (!state.ok()) return state.status();
  if (flags.output == Format::kJson) {
    std::cout << ToJson(*state, /*indented=*/false);
    return absl::OkStatus();
  }
  std::vector<CsvRow> rows;
  for (const v1::NamedTensor& tensor : state->tensors()) {
    rows.push_back(tensor.int64_values().empty() ? Summarize(tensor, tensor.values())
                                                 : Summarize(tensor, tensor.int64_values()));
  }
  if (flags.output == Format::kTable) {
    std::cout << "step " << state->step()
              << (rows.empty() ? "; lazy: no tensors before the first request\n" : "\n");
  }
  if (!rows.empty()) {
    WriteTable({"tensor", "shape", "mean", "min", "max"}, rows, flags.output, &std::cout);
  }
  return absl::OkStatus();
}

}  // namespace

void AddState(CLI::App& app, Session& session) {
  auto flags = std::make_shared<StateFlags>();
  CLI::App* command = AddCommand(app, session, "state", "Shows a model's tensors", kExamples,
                                 [&session, flags] { return ShowState(session, *flags); });
  AddModel(command, &flags->model);
  AddOutput(command, &flags->output, /*with_csv=*/true);
}

}  // namespace lazynorm
