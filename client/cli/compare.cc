#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm copy demand challenger\n"
    "  lazynorm update challenger --shadow-of demand --lr 0.003\n"
    "  lazynorm compare demand challenger\n"
    "\"prequential_loss\" is that of the predictions made before learning from each row, averaged\n"
    "with more weight on the latest steps. The last column divides it by the first model's.";

struct CompareFlags {
  std::vector<std::string> models;
  Format output = Format::kTable;
};

// The status as it is now.
absl::StatusOr<v1::ModelStatus> StatusOf(const Client& client, const std::string& model) {
  v1::WatchModelRequest request;
  request.set_model(model);
  v1::ModelStatus now;
  const absl::Status status = client.WatchModel(request, [&](const v1::ModelStatus& first) {
    now = first;
    return false;
  });
  if (!status.ok()) return status;
  return now;
}

absl::Status Compare(const Session& session, const CompareFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  std::vector<v1::ModelStatus> all;
  for (const std::string& model : flags.models) {
    const absl::StatusOr<v1::ModelStatus> status = StatusOf(*client, model);
    if (!status.ok()) return status.status();
    all.push_back(*status);
  }
  if (flags.output == Format::kJson) {
    for (const v1::ModelStatus& status : all) std::cout << ToJson(status, /*indented=*/false);
    return absl::OkStatus();
  }
  RowWriter writer(&std::cout, flags.output,
                   CsvRow{"model", "step", "rows", "train_loss", "prequential_loss", "ratio"});
  for (const v1::ModelStatus& status : all) {
    writer.Write({status.model(), absl::StrCat(status.step()), absl::StrCat(status.rows_trained()),
                  FormatNumber(status.train_loss()), FormatNumber(status.prequential_loss()),
                  FormatNumber(status.prequential_loss() / all.front().prequential_loss())});
  }
  return absl::OkStatus();
}

}  // namespace

void AddCompare(CLI::App& app, Session& session) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App* command =
      AddCommand(app, session, "compare", "Shows how models do on what they learn, side by side",
                 kExamples, [&session, flags] { return Compare(session, *flags); });
  command->add_option("MODEL", flags->models, "The models' ids")->required()->type_name("");
  AddOutput(command, &flags->output, /*with_csv=*/true);
}

}  // namespace lazynorm
