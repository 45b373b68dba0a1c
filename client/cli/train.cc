#include <unistd.h>

#include <cmath>
#include <iostream>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/baseline.h"
#include "client/cli/commands.h"
#include "client/cli/data_flags.h"
#include "client/cli/errors.h"
#include "client/cli/progress.h"
#include "client/cli/spec_flags.h"
#include "client/cli/train_run.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm train demand events.csv --target sold --create\n"
    "  tail -n +1 -f events.csv | lazynorm train demand - --target sold --batch 8\n"
    "  lazynorm train weather weather.csv --target temp_max --ahead 1 --date date \\\n"
    "    --one-hot weather --shadow-baseline persistence --report-every 365\n"
    "  lazynorm train demand sold-by-now.csv --prediction-id order --target sold\n"
    "Every row is predicted before it is learned from; the error printed is that of these\n"
    "predictions (for --epochs, of the first). Options of \"The model\" go with --create.\n"
    "With --prediction-id the table needs ids and targets alone: the features are those that\n"
    "predict --remember gave, and the error is that of the predictions given then.\n"
    "With --ahead N the targets of the latest N-1 rows would not be known yet in real life.";

struct TrainFlags {
  std::string model;
  TrainOptions train;
  bool create = false;
  SpecFlags spec;
  Format output = Format::kTable;
};

absl::StatusOr<v1::Model> CreateFor(const Client& client, const TrainFlags& flags) {
  v1::CreateModelRequest request;
  request.set_model_id(flags.model);
  absl::StatusOr<v1::ModelSpec> spec = ToSpec(flags.spec);
  if (!spec.ok()) return spec.status();
  *request.mutable_spec() = *std::move(spec);
  absl::Status status = FitToTable(flags.train.path, flags.train.columns, request.mutable_spec());
  if (status.ok() && !flags.train.baseline.empty()) {
    status = CheckBaseline(flags.train.baseline, request.spec().loss().kind());
  }
  if (!status.ok()) return status;
  ApplyPreset(flags.spec, request.mutable_spec());
  return client.CreateModel(request);
}

// Whether the model was made here goes to `created`.
absl::StatusOr<v1::Model> FindOrCreate(const Client& client, const TrainFlags& flags,
                                       bool* created) {
  absl::StatusOr<v1::Model> model = client.GetModel(flags.model);
  if (flags.create && absl::IsNotFound(model.status())) {
    model = CreateFor(client, flags);
    *created = model.ok();
    return model;
  }
  if (const std::string option = FirstGiven(flags.spec); model.ok() && !option.empty()) {
    std::cerr << "note: model " << flags.model << " is there already; " << option
              << " is not used\n";
  }
  return model;
}

// Writes the periods as they end, the progress between them, and the summary.
class TrainReport {
 public:
  explicit TrainReport(const TrainFlags& flags, v1::LossKind loss)
      : flags_(flags), loss_(loss), progress_(&std::cerr, isatty(STDERR_FILENO) == 1) {}

  void OnProgress(const TrainRun& run, double share, const Score* period) {
    if (period != nullptr && flags_.output == Format::kTable) WritePeriod(*period);
    const bool quiet = flags_.train.report_every > 0 && isatty(STDERR_FILENO) != 1;
    if (!quiet) progress_.Update(share, run.scores().rows(), run.scores().rolling_loss());
  }

  void WriteSummary(const TrainRun& run) {
    progress_.Clear();
    if (flags_.output == Format::kJson) {
      std::cout << ToJsonObject(run).ToString() << "\n";
    } else {
      WriteTableSummary(run);
    }
  }

  void Clear() { progress_.Clear(); }

 private:
  bool has_baseline() const { return !flags_.train.baseline.empty(); }
  double RowsPerSecond(const TrainRun& run) const {
    return static_cast<double>(run.scores().rows()) / absl::ToDoubleSeconds(progress_.elapsed());
  }

  void WritePeriod(const Score& period) {
    const bool dated = !flags_.train.columns.date.empty();
    progress_.Clear();
    if (writer_ == nullptr) {
      std::cout << ErrorName(loss_) << " in each period:\n";
      std::vector<std::string> columns = {"rows"};
      if (dated) columns.push_back("date");
      columns.push_back("model");
      if (has_baseline()) columns.push_back(flags_.train.baseline);
      writer_ = std::make_unique<RowWriter>(&std::cout, Format::kTable, columns);
    }
    CsvRow row = {absl::StrCat(period.rows)};
    if (dated) row.push_back(period.date);
    row.push_back(absl::StrFormat("%.4g", period.model));
    if (has_baseline()) {
      row.push_back(std::isnan(period.baseline) ? "-" : absl::StrFormat("%.4g", period.baseline));
    }
    writer_->Write(row);
    std::cout.flush();
  }

  void WriteTableSummary(const TrainRun& run) const {
    const Score score = run.scores().Final();
    const double skipped = flags_.train.skip_first;
    std::vector<std::pair<std::string, std::string>> pairs = {
        {"rows", absl::StrCat(run.scores().rows())},
        {"steps", absl::StrCat(run.scores().steps(), " (the model is at ", run.step(), ")")},
        {"rows/s", absl::StrFormat("%.0f", RowsPerSecond(run))},
        {"measure",
         absl::StrCat(
             ErrorName(loss_),
             flags_.train.columns.without_features ? ", as predicted when asked"
                                                   : ", before learning from each row",
             skipped > 0 ? absl::StrFormat(", without the first %g %%", 100 * skipped) : "")},
        {"model", FormatNumber(score.model)}};
    if (has_baseline()) {
      pairs.emplace_back(flags_.train.baseline, FormatNumber(score.baseline));
      pairs.emplace_back("ratio", absl::StrFormat("%.3f", score.model / score.baseline));
    }
    if (flags_.train.epochs > 1) {
      pairs.emplace_back("last epoch",
                         FormatNumber(run.scores().Since(run.last_epoch_row()).model));
    }
    pairs.emplace_back("course", Sparkline(run.scores().Curve(), 60));
    if (writer_ != nullptr) std::cout << "\n";
    WritePairs(pairs, &std::cout);
  }

  JsonObject ToJsonObject(const TrainRun& run) const {
    const Score score = run.scores().Final();
    JsonObject json;
    json.Text("model", flags_.model)
        .Integer("rows", run.scores().rows())
        .Integer("steps", run.scores().steps())
        .Integer("step", run.step())
        .Number("rows_per_second", RowsPerSecond(run))
        .Text("measure", ErrorName(loss_))
        .Number("model_error", score.model);
    if (has_baseline()) {
      json.Text("baseline", flags_.train.baseline)
          .Number("baseline_error", score.baseline)
          .Number("ratio", score.model / score.baseline);
    }
    if (flags_.train.epochs > 1) {
      json.Number("last_epoch_error", run.scores().Since(run.last_epoch_row()).model);
    }
    std::vector<JsonObject> periods;
    for (const Score& period : run.scores().periods()) periods.push_back(ToJsonObject(period));
    if (flags_.train.report_every > 0) json.Objects("periods", periods);
    return json;
  }

  JsonObject ToJsonObject(const Score& period) const {
    JsonObject json;
    json.Integer("rows", period.rows);
    if (!flags_.train.columns.date.empty()) json.Text("date", period.date);
    json.Number("model_error", period.model);
    if (has_baseline()) json.Number("baseline_error", period.baseline);
    return json;
  }

  const TrainFlags& flags_;
  const v1::LossKind loss_;
  Progress progress_;
  std::unique_ptr<RowWriter> writer_;
};

// What describes features, or takes rows twice, has no place beside remembered rows.
absl::Status CheckRemembered(const TrainFlags& flags) {
  const ColumnOptions& columns = flags.train.columns;
  if (!columns.without_features) return absl::OkStatus();
  const char* other = flags.create               ? "--create"
                      : flags.train.epochs > 1   ? "--epochs"
                      : columns.ahead > 0        ? "--ahead"
                      : !columns.one_hot.empty() ? "--one-hot"
                      : !columns.date.empty()    ? "--date"
                                                 : nullptr;
  if (other == nullptr) return absl::OkStatus();
  return InputError(absl::StrCat(other,
                                 ": does not go with --prediction-id, which learns once "
                                 "from features that the server remembers"));
}

absl::Status NoRows(const std::string& path) {
  return InputError(absl::StrCat(path == "-" ? "stdin" : path, ": no rows to learn from"));
}

absl::Status Train(const Session& session, const TrainFlags& flags) {
  if (absl::Status status = NeedTarget(flags.train.columns); !status.ok()) return status;
  if (absl::Status status = CheckRemembered(flags); !status.ok()) return status;
  if (const std::string option = FirstGiven(flags.spec); !flags.create && !option.empty()) {
    return InputError(absl::StrCat(option, ": describes a new model; add --create"));
  }
  if (flags.train.path == "-" && flags.train.epochs > 1) {
    return InputError("--epochs: standard input can be read only once; give a file");
  }
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  bool created = false;
  const absl::StatusOr<v1::Model> model = FindOrCreate(*client, flags, &created);
  if (!model.ok()) return model.status();
  TrainRun run(*client, *model, flags.train);
  TrainReport report(flags, model->spec().loss().kind());
  absl::Status status =
      run.Run([&](double share, const Score* period) { report.OnProgress(run, share, period); });
  const int64_t rows = run.scores().rows();
  if (status.ok() && rows == 0) status = NoRows(flags.train.path);
  if (status.ok()) {
    report.WriteSummary(run);
    return status;
  }
  report.Clear();
  if (rows > 0) std::cerr << "note: " << rows << " rows were trained before the error\n";
  // A model made for a table that could not be read goes with the error: the next try begins anew.
  if (created && rows == 0 && ExitCodeOf(status) == kExitUsage) {
    client->DeleteModel(flags.model).IgnoreError();
  }
  return status;
}

void AddTrainOptions(CLI::App* command, TrainOptions* train) {
  const CLI::Validator positive = AtLeast(1);
  command->add_option("--batch", train->batch, "Rows of a request, which is one step")
      ->type_name("N")
      ->capture_default_str()
      ->check(positive);
  command->add_option("--epochs", train->epochs, "Passes over the file")
      ->type_name("N")
      ->capture_default_str()
      ->check(positive);
  command->add_option("--window", train->window, "Requests on their way at a time")
      ->type_name("N")
      ->capture_default_str()
      ->check(positive);
  command->add_flag("--freeze-statistics", train->freeze_statistics,
                    "Leave the running statistics of batch norms alone");
  command
      ->add_option("--report-every", train->report_every,
                   "Print the error of every N rows (in whole batches)")
      ->type_name("N")
      ->check(positive);
  command
      ->add_option("--shadow-baseline", train->baseline,
                   "Score this beside the model, on the same rows in the same measure: "
                   "persistence, mean (regression), majority (classes, as log loss of their "
                   "frequencies so far)")
      ->type_name("NAME")
      ->check(CLI::IsMember({"persistence", "mean", "majority"}).description(""));
  command
      ->add_option("--skip-first", train->skip_first,
                   "Leave this first share of the rows out of the final errors")
      ->type_name("FRACTION")
      ->check(CLI::Range(0.0, 0.999).description(""));
}

}  // namespace

void AddTrain(CLI::App& app, Session& session) {
  auto flags = std::make_shared<TrainFlags>();
  CLI::App* command = AddCommand(app, session, "train", "Learns from the rows of a table",
                                 kExamples, [&session, flags] { return Train(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("FILE", flags->train.path, "CSV with a header; - for standard input")
      ->required()
      ->type_name("");
  AddColumnOptions(command, &flags->train.columns, /*with_targets=*/true);
  AddTrainOptions(command, &flags->train);
  command
      ->add_option_function<std::string>(
          "--prediction-id",
          [flags](const std::string& column) {
            flags->train.columns.id = column;
            flags->train.columns.without_features = true;
          },
          "A column of ids under which predict --remember left the features: the table needs only "
          "these and the targets")
      ->type_name("COLUMN");
  AddOutput(command, &flags->output, /*with_csv=*/false);
  command->add_flag("--create", flags->create, "Create the model if it is not there");
  AddSpecOptions(command, &flags->spec);
}

}  // namespace lazynorm
