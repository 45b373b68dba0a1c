// The commands get, list, delete, update, copy, freeze and unfreeze.
#include <iostream>
#include <memory>
#include <optional>

#include "client/cli/commands.h"
#include "client/cli/describe.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

struct ModelFlags {
  std::string model;
  Format output = Format::kTable;
};

struct UpdateFlags {
  ModelFlags model;
  std::optional<double> learning_rate, clip_grad_norm;
  std::optional<std::string> shadow_of;
};

// Runs `call` against the server and describes the model it gives.
template <typename CallType>
absl::Status CallAndDescribe(const Session& session, Format output, const CallType& call) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Model> model = call(*client);
  if (!model.ok()) return model.status();
  Describe(*model, output, &std::cout);
  return absl::OkStatus();
}

// A command that takes a model and nothing else.
void AddModelCommand(CLI::App& app, Session& session, const std::string& name,
                     const std::string& description, const std::string& examples,
                     absl::StatusOr<v1::Model> (Client::*method)(absl::string_view) const) {
  auto flags = std::make_shared<ModelFlags>();
  CLI::App* command =
      AddCommand(app, session, name, description, examples, [&session, flags, method] {
        return CallAndDescribe(session, flags->output, [&](const Client& client) {
          return (client.*method)(flags->model);
        });
      });
  AddModel(command, &flags->model);
  AddOutput(command, &flags->output, /*with_csv=*/false);
}

absl::Status List(const Session& session, Format output) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::vector<v1::Model>> models = client->ListAllModels();
  if (!models.ok()) return models.status();
  DescribeAll(*models, output, &std::cout);
  return absl::OkStatus();
}

absl::Status Delete(const Session& session, const std::vector<std::string>& models) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  for (const std::string& model : models) {
    if (absl::Status status = client->DeleteModel(model); !status.ok()) return status;
    std::cout << "deleted " << model << "\n";
  }
  return absl::OkStatus();
}

absl::Status Update(const Session& session, const UpdateFlags& flags) {
  v1::UpdateModelRequest request;
  request.set_model(flags.model.model);
  if (flags.learning_rate.has_value()) {
    request.set_learning_rate(*flags.learning_rate);
    request.mutable_update_mask()->add_paths("learning_rate");
  }
  if (flags.clip_grad_norm.has_value()) {
    request.mutable_learning()->set_clip_grad_norm(*flags.clip_grad_norm);
    request.mutable_update_mask()->add_paths("learning.clip_grad_norm");
  }
  if (flags.shadow_of.has_value()) {
    request.mutable_learning()->set_shadow_of(*flags.shadow_of);
    request.mutable_update_mask()->add_paths("learning.shadow_of");
  }
  if (!request.has_update_mask()) {
    return InputError("update: give --lr, --clip-grad-norm or --shadow-of");
  }
  return CallAndDescribe(session, flags.model.output,
                         [&](const Client& client) { return client.UpdateModel(request); });
}

}  // namespace

void AddGet(CLI::App& app, Session& session) {
  AddModelCommand(app, session, "get", "Shows a model",
                  "  lazynorm get demand\n  lazynorm get demand --output json", &Client::GetModel);
}

void AddFreeze(CLI::App& app, Session& session) {
  AddModelCommand(app, session, "freeze",
                  "From now on training leaves the batch norms' running statistics alone",
                  "  lazynorm freeze demand", &Client::FreezeStatistics);
}

void AddUnfreeze(CLI::App& app, Session& session) {
  AddModelCommand(app, session, "unfreeze", "Lets training update the running statistics again",
                  "  lazynorm unfreeze demand", &Client::UnfreezeStatistics);
}

void AddList(CLI::App& app, Session& session) {
  auto output = std::make_shared<Format>(Format::kTable);
  CLI::App* command = AddCommand(app, session, "list", "Lists all models",
                                 "  lazynorm list\n  lazynorm list --output csv",
                                 [&session, output] { return List(session, *output); });
  AddOutput(command, output.get(), /*with_csv=*/true);
}

void AddDelete(CLI::App& app, Session& session) {
  auto models = std::make_shared<std::vector<std::string>>();
  CLI::App* command = AddCommand(app, session, "delete", "Deletes models, without asking",
                                 "  lazynorm delete demand\n  lazynorm delete old-1 old-2",
                                 [&session, models] { return Delete(session, *models); });
  command->add_option("MODEL", *models, "The models' ids")->required()->type_name("");
}

void AddUpdate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<UpdateFlags>();
  CLI::App* command = AddCommand(
      app, session, "update", "Changes how a model learns from its next step on",
      "  lazynorm update demand --lr 0.001\n  lazynorm update demand --clip-grad-norm 1\n"
      "  lazynorm update challenger --shadow-of demand",
      [&session, flags] { return Update(session, *flags); });
  AddModel(command, &flags->model.model);
  command->add_option("--lr", flags->learning_rate, "Learning rate")->type_name("X");
  command->add_option("--clip-grad-norm", flags->clip_grad_norm, "0: off")->type_name("X");
  command
      ->add_option("--shadow-of", flags->shadow_of,
                   "Learn from every Train of this model too; \"\" ends it")
      ->type_name("MODEL");
  AddOutput(command, &flags->model.output, /*with_csv=*/false);
}

void AddCopy(CLI::App& app, Session& session) {
  auto flags = std::make_shared<ModelFlags>();
  auto copy = std::make_shared<std::string>();
  CLI::App* command =
      AddCommand(app, session, "copy", "Makes a second model with the whole state of the first",
                 "  lazynorm copy demand challenger", [&session, flags, copy] {
                   return CallAndDescribe(session, flags->output, [&](const Client& client) {
                     return client.CopyModel(flags->model, *copy);
                   });
                 });
  AddModel(command, &flags->model);
  command->add_option("COPY", *copy, "The id of the copy")->required()->type_name("");
  AddOutput(command, &flags->output, /*with_csv=*/false);
}

}  // namespace lazynorm
