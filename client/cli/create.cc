#include <iostream>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/data_flags.h"
#include "client/cli/describe.h"
#include "client/cli/errors.h"
#include "client/cli/spec_flags.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm create demand\n"
    "  lazynorm create demand --hidden 64,64 --lr 0.003\n"
    "  lazynorm create demand --preset torch --hidden 64,64 --normalize-input --lr 0.01\n"
    "  lazynorm create species --like iris.csv --target species\n"
    "  lazynorm create demand --spec demand.textproto\n"
    "--like reads a table once: its columns (one-hot and date columns expanded) become the\n"
    "feature_names, and if the target is text (or with --loss cross_entropy) its values, as\n"
    "they first appear, the class_names. A --spec file is taken as it is: no preset.";

struct CreateFlags {
  std::string model;
  std::string like;
  ColumnOptions columns;
  SpecFlags spec;
  Format output = Format::kTable;
};

absl::Status Create(const Session& session, const CreateFlags& flags) {
  v1::CreateModelRequest request;
  request.set_model_id(flags.model);
  absl::StatusOr<v1::ModelSpec> spec = ToSpec(flags.spec);
  if (!spec.ok()) return spec.status();
  *request.mutable_spec() = *std::move(spec);
  if (!flags.like.empty()) {
    if (flags.like == "-") return InputError("--like: give a file, not standard input");
    absl::Status status = NeedTarget(flags.columns);
    if (status.ok()) status = FitToTable(flags.like, flags.columns, request.mutable_spec());
    if (!status.ok()) return status;
  }
  ApplyPreset(flags.spec, request.mutable_spec());
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Model> model = client->CreateModel(request);
  if (!model.ok()) return model.status();
  Describe(*model, flags.output, &std::cout);
  return absl::OkStatus();
}

}  // namespace

void AddCreate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<CreateFlags>();
  CLI::App* command = AddCommand(app, session, "create", "Creates a model", kExamples,
                                 [&session, flags] { return Create(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("--like", flags->like, "A CSV like those to come")->type_name("FILE");
  AddColumnOptions(command, &flags->columns, /*with_targets=*/true);
  AddOutput(command, &flags->output, /*with_csv=*/false);
  AddSpecOptions(command, &flags->spec);
}

}  // namespace lazynorm
