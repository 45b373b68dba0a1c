#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/batches.h"
#include "client/cli/commands.h"
#include "client/cli/data_flags.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm evaluate demand holdout.csv --target sold\n"
    "  lazynorm evaluate demand holdout.csv --target sold --output json\n"
    "Evaluating never trains.";

struct EvaluateFlags {
  std::string model;
  std::string path;
  ColumnOptions columns;
  int batch = 1024;
  Format output = Format::kTable;
};

void WriteScores(const v1::EvaluateResponse& scores, Format format) {
  if (format == Format::kJson) {
    std::cout << ToJson(scores, /*indented=*/false);
    return;
  }
  std::vector<std::pair<std::string, std::string>> pairs = {{"rows", absl::StrCat(scores.rows())},
                                                            {"step", absl::StrCat(scores.step())},
                                                            {"loss", FormatNumber(scores.loss())}};
  const auto add = [&pairs](bool present, const char* name, double value) {
    if (present) pairs.emplace_back(name, FormatNumber(value));
  };
  add(scores.has_mean_absolute_error(), "mean absolute error", scores.mean_absolute_error());
  add(scores.has_root_mean_squared_error(), "root mean squared error",
      scores.root_mean_squared_error());
  add(scores.has_r2(), "r2", scores.r2());
  add(scores.has_accuracy(), "accuracy", scores.accuracy());
  add(scores.has_log_loss(), "log loss", scores.log_loss());
  add(scores.has_roc_auc(), "roc auc", scores.roc_auc());
  WritePairs(pairs, &std::cout);
}

absl::Status Evaluate(const Session& session, const EvaluateFlags& flags) {
  if (absl::Status status = NeedTarget(flags.columns); !status.ok()) return status;
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Model> model = client->GetModel(flags.model);
  if (!model.ok()) return model.status();
  absl::StatusOr<ExampleReader> examples = OpenExamples(flags.path, flags.columns, *model);
  if (!examples.ok()) return examples.status();
  BatchReader batches(&*examples, flags.batch);
  const auto next = [&](v1::EvaluateRequest* request) -> absl::StatusOr<bool> {
    const absl::StatusOr<Batch> batch = batches.Next();
    if (!batch.ok()) return batch.status();
    request->set_model(flags.model);
    *request->mutable_features() = FeaturesOf(*batch);
    SetTargets(*batch, model->spec().loss().kind(), !flags.columns.weight.empty(), request);
    return !batch->empty();
  };
  const absl::StatusOr<v1::EvaluateResponse> scores = client->EvaluateStream(next);
  if (!scores.ok()) return scores.status();
  WriteScores(*scores, flags.output);
  return absl::OkStatus();
}

}  // namespace

void AddEvaluate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<EvaluateFlags>();
  CLI::App* command = AddCommand(app, session, "evaluate", "Scores a model on a table", kExamples,
                                 [&session, flags] { return Evaluate(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("FILE", flags->path, "CSV with a header; - for standard input")
      ->required()
      ->type_name("");
  AddColumnOptions(command, &flags->columns, /*with_targets=*/true);
  command->add_option("--batch", flags->batch, "Rows of a request")
      ->type_name("N")
      ->capture_default_str()
      ->check(AtLeast(1));
  AddOutput(command, &flags->output, /*with_csv=*/false);
}

}  // namespace lazynorm
