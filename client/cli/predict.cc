#include <algorithm>
#include <deque>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/batches.h"
#include "client/cli/commands.h"
#include "client/cli/data_flags.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm predict demand tomorrow.csv\n"
    "  lazynorm predict demand events.csv --target sold --append --output csv > predicted.csv\n"
    "  head -n 2 events.csv | lazynorm predict demand - --ignore sold --output json\n"
    "  lazynorm predict demand today.csv --remember order --append --output csv > told.csv\n"
    "  lazynorm train demand sold-by-now.csv --prediction-id order --target sold\n"
    "With --remember the server keeps features and prediction under the id in this column, until\n"
    "train names it with what really came.\n"
    "A --target column is left out of the features, if it is there.\n"
    "With cross_entropy, \"prediction\" is the likeliest class.";

struct PredictFlags {
  std::string model;
  std::string path;
  ColumnOptions columns;
  int batch = 1024;
  bool probabilities = false;
  int64_t min_step = 0;
  bool append = false;
  Format output = Format::kTable;
};

// Turns the answers into rows of text, in order. Thread-compatible.
class PredictionWriter {
 public:
  PredictionWriter(const PredictFlags& flags, const v1::Model& model, const CsvRow& header)
      : flags_(flags), model_(model), header_(header) {}

  void Expect(Batch batch) { sent_.push_back(std::move(batch)); }

  void Write(const v1::Matrix& predictions) {
    const int columns = predictions.columns();
    if (writer_ == nullptr) {
      writer_ = std::make_unique<RowWriter>(&std::cout, flags_.output, Columns(columns), 12);
    }
    for (int row = 0; row < predictions.rows(); ++row) {
      CsvRow cells = flags_.append ? sent_.front()[row].cells : CsvRow();
      AddCells(predictions.values().data() + static_cast<int64_t>(row) * columns, columns, &cells);
      writer_->Write(cells);
    }
    sent_.pop_front();
  }

 private:
  bool classes() const { return model_.spec().loss().kind() == v1::LOSS_KIND_CROSS_ENTROPY; }

  std::string ClassName(int label) const {
    return label < model_.spec().class_names_size() ? model_.spec().class_names(label)
                                                    : absl::StrCat(label);
  }

  std::vector<std::string> Columns(int outputs) const {
    std::vector<std::string> columns = flags_.append ? header_ : CsvRow();
    if (classes() || outputs == 1) columns.push_back("prediction");
    for (int i = 0; i < outputs && (classes() || outputs > 1); ++i) {
      columns.push_back(absl::StrCat("prediction_", classes() ? ClassName(i) : absl::StrCat(i)));
    }
    return columns;
  }

  void AddCells(const float* values, int columns, CsvRow* cells) const {
    if (classes()) {
      cells->push_back(
          ClassName(static_cast<int>(std::max_element(values, values + columns) - values)));
    }
    for (int i = 0; i < columns; ++i) cells->push_back(FormatFloat(values[i]));
  }

  const PredictFlags& flags_;
  const v1::Model& model_;
  const CsvRow header_;
  std::deque<Batch> sent_;  // and not answered
  std::unique_ptr<RowWriter> writer_;
};

v1::PredictRequest ToRequest(const PredictFlags& flags, const Batch& batch) {
  v1::PredictRequest request;
  request.set_model(flags.model);
  *request.mutable_features() = FeaturesOf(batch);
  request.set_min_step(flags.min_step);
  if (!flags.columns.id.empty()) SetPredictionIds(batch, &request);
  if (flags.probabilities) request.set_output(v1::OUTPUT_PROBABILITIES);
  return request;
}

// Opens the table without its targets, which are not read and need not be there.
absl::StatusOr<ExampleReader> OpenWithoutTargets(const PredictFlags& flags,
                                                 const v1::Model& model) {
  ColumnOptions columns = flags.columns;
  columns.optional_ignore = std::move(columns.targets);
  columns.targets.clear();
  return OpenExamples(flags.path, columns, model);
}

absl::Status Predict(const Session& session, const PredictFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Model> model = client->GetModel(flags.model);
  if (!model.ok()) return model.status();
  absl::StatusOr<ExampleReader> examples = OpenWithoutTargets(flags, *model);
  if (!examples.ok()) return examples.status();
  BatchReader batches(&*examples, flags.batch);
  PredictionWriter writer(flags, *model, examples->table().header());
  const std::unique_ptr<PredictStream> stream = client->OpenPredictStream(
      8, [&](const v1::PredictRequest&, const v1::PredictResponse& response) {
        writer.Write(response.predictions());
      });
  for (;;) {
    absl::StatusOr<Batch> batch = batches.Next();
    if (!batch.ok()) return batch.status();
    if (batch->empty()) return stream->Finish();
    v1::PredictRequest request = ToRequest(flags, *batch);
    writer.Expect(*std::move(batch));
    if (absl::Status status = stream->Write(std::move(request)); !status.ok()) return status;
  }
}

}  // namespace

void AddPredict(CLI::App& app, Session& session) {
  auto flags = std::make_shared<PredictFlags>();
  CLI::App* command = AddCommand(app, session, "predict", "Predicts each row of a table", kExamples,
                                 [&session, flags] { return Predict(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("FILE", flags->path, "CSV with a header; - for standard input")
      ->required()
      ->type_name("");
  AddColumnOptions(command, &flags->columns, /*with_targets=*/false);
  command->add_option("--batch", flags->batch, "Rows of a request")
      ->type_name("N")
      ->capture_default_str()
      ->check(AtLeast(1));
  command->add_flag("--probabilities", flags->probabilities,
                    "Probabilities instead of the last layer's values, for classification");
  command->add_option("--min-step", flags->min_step, "Wait until the model has reached this step")
      ->type_name("N");
  command
      ->add_option("--remember", flags->columns.id,
                   "A column of ids, each its own: remember the rows under them for train "
                   "--prediction-id")
      ->type_name("COLUMN");
  command->add_flag("--append", flags->append, "Write the table's columns, too");
  AddOutput(command, &flags->output, /*with_csv=*/true);
}

}  // namespace lazynorm
