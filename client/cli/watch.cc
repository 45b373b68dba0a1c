#include <cmath>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm watch demand\n"
    "  lazynorm watch demand --interval 200ms --count 1 --output json\n"
    "\"shift\" is, for each batch norm, how far the latest batch lay from the running mean, in\n"
    "running standard deviations; \"experts\" what each counts in predictions; \"drifts\" how "
    "often\n"
    "the prequential loss has risen for good, \"last_drift\" the step of the latest time.";

struct WatchFlags {
  std::string model;
  std::string interval = "1s";
  int64_t count = 0;
  Format output = Format::kTable;
};

std::string Join(const google::protobuf::RepeatedField<double>& values) {
  if (values.empty()) return "-";
  return absl::StrJoin(values, " ", [](std::string* text, double value) {
    absl::StrAppend(text, FormatNumber(value));
  });
}

// Weights in hundredths: one that is next to nothing shows as 0.
std::string JoinWeights(google::protobuf::RepeatedField<double> weights) {
  for (double& weight : weights) weight = std::round(100 * weight) / 100;
  return Join(weights);
}

CsvRow ToRow(const v1::ModelStatus& status) {
  return {absl::StrCat(status.step()),
          absl::StrCat(status.rows_trained()),
          FormatNumber(status.rows_per_second()),
          FormatNumber(status.train_loss()),
          FormatNumber(status.prequential_loss()),
          FormatNumber(status.gradient_norm()),
          absl::StrCat(status.drifts()),
          status.drifts() > 0 ? absl::StrCat(status.last_drift_step()) : "-",
          JoinWeights(status.expert_weights()),
          status.statistics_frozen() ? "frozen" : "learning",
          Join(status.batch_norm_shift())};
}

absl::Status Watch(const Session& session, const WatchFlags& flags) {
  absl::Duration interval;
  if (!absl::ParseDuration(flags.interval, &interval) || interval <= absl::ZeroDuration()) {
    return InputError(
        absl::StrCat("--interval: expected a duration like 200ms, got ", flags.interval));
  }
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  v1::WatchModelRequest request;
  request.set_model(flags.model);
  request.mutable_min_interval()->set_seconds(absl::ToInt64Seconds(interval));
  request.mutable_min_interval()->set_nanos(
      static_cast<int32_t>((interval % absl::Seconds(1)) / absl::Nanoseconds(1)));
  std::unique_ptr<RowWriter> writer;
  int64_t seen = 0;
  return client->WatchModel(request, [&](const v1::ModelStatus& status) {
    if (flags.output == Format::kJson) {
      std::cout << ToJson(status, /*indented=*/false) << std::flush;
    } else {
      if (writer == nullptr) {
        writer = std::make_unique<RowWriter>(
            &std::cout, flags.output,
            CsvRow{"step", "rows", "rows/s", "train_loss", "prequential_loss", "gradient_norm",
                   "drifts", "last_drift", "experts", "statistics", "shift"});
      }
      writer->Write(ToRow(status));
      std::cout.flush();
    }
    return ++seen != flags.count;
  });
}

}  // namespace

void AddWatch(CLI::App& app, Session& session) {
  auto flags = std::make_shared<WatchFlags>();
  CLI::App* command = AddCommand(app, session, "watch", "Prints a model's status as it changes",
                                 kExamples, [&session, flags] { return Watch(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("--interval", flags->interval, "At most one line in this time")
      ->type_name("DURATION")
      ->capture_default_str();
  command->add_option("--count", flags->count, "Stop after N lines")->type_name("N");
  AddOutput(command, &flags->output, /*with_csv=*/true);
}

}  // namespace lazynorm
