// The commands checkpoint, restore and backup.
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/describe.h"
#include "client/cli/errors.h"
#include "client/cli/new_file.h"

namespace lazynorm {
namespace {

struct CheckpointFlags {
  std::string model, label, remove;
  bool list = false;
  Format output = Format::kTable;
};

struct RestoreFlags {
  std::string model, checkpoint;
  std::optional<int64_t> step;
  Format output = Format::kTable;
};

CsvRow RowOf(const v1::Checkpoint& checkpoint) {
  return {checkpoint.checkpoint_id(), absl::StrCat(checkpoint.step()),
          TimeText(checkpoint.create_time()), absl::StrCat(checkpoint.size_bytes()),
          checkpoint.label()};
}

absl::Status Checkpoint(const Session& session, const CheckpointFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  if (!flags.remove.empty()) return client->DeleteCheckpoint(flags.model, flags.remove);
  std::vector<CsvRow> rows;
  if (flags.list) {
    const auto all = client->ListCheckpoints(flags.model);
    if (!all.ok()) return all.status();
    for (const v1::Checkpoint& checkpoint : *all) rows.push_back(RowOf(checkpoint));
  } else {
    const auto made = client->CreateCheckpoint(flags.model, flags.label);
    if (!made.ok()) return made.status();
    rows.push_back(RowOf(*made));
  }
  WriteTable({"checkpoint", "step", "created", "bytes", "label"}, rows, flags.output, &std::cout);
  return absl::OkStatus();
}

absl::Status Restore(const Session& session, const RestoreFlags& flags) {
  if (flags.step.has_value() == !flags.checkpoint.empty()) {
    return InputError("expected either the id of a checkpoint or --step");
  }
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const auto model = flags.step.has_value()
                         ? client->RestoreStep(flags.model, *flags.step)
                         : client->RestoreCheckpoint(flags.model, flags.checkpoint);
  if (!model.ok()) return model.status();
  Describe(*model, flags.output, &std::cout);
  return absl::OkStatus();
}

absl::Status Backup(const Session& session, const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return InputError(absl::StrCat(folder, ": ", error.message()));
  const std::string path = folder + "/lazynorm.db";
  if (fs::exists(path)) {
    return InputError(absl::StrCat(path, " exists already; give each backup a folder of its own"));
  }
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  NewFile file(path);
  int64_t bytes = 0, size = 0;
  const absl::Status streamed = client->Backup([&](absl::string_view data, int64_t of) {
    size = of;
    bytes += static_cast<int64_t>(data.size());
    return file.Write(data);
  });
  if (!file.status().ok()) return file.status();
  if (!streamed.ok()) return streamed;
  if (bytes == 0 || bytes != size) {
    return absl::DataLossError(absl::StrCat("expected ", size, " bytes, got ", bytes));
  }
  if (const absl::Status kept = file.Keep(); !kept.ok()) return kept;
  std::cout << path << ": " << bytes << " bytes\n";
  return absl::OkStatus();
}

}  // namespace

void AddCheckpoint(CLI::App& app, Session& session) {
  auto flags = std::make_shared<CheckpointFlags>();
  CLI::App* command =
      AddCommand(app, session, "checkpoint", "Keeps the whole state of a model, to come back to",
                 "  lazynorm checkpoint demand --label before-the-holidays\n"
                 "  lazynorm checkpoint demand --list\n"
                 "  lazynorm checkpoint demand --delete 3",
                 [&session, flags] { return Checkpoint(session, *flags); });
  AddModel(command, &flags->model);
  CLI::Option* label = command->add_option("--label", flags->label, "For people");
  CLI::Option* list = command->add_flag("--list", flags->list, "Shows what is kept, oldest first");
  command->add_option("--delete", flags->remove, "Deletes the checkpoint with this id")
      ->type_name("ID")
      ->excludes(label)
      ->excludes(list);
  list->excludes(label);
  AddOutput(command, &flags->output, /*with_csv=*/true);
}

void AddRestore(CLI::App& app, Session& session) {
  auto flags = std::make_shared<RestoreFlags>();
  CLI::App* command = AddCommand(
      app, session, "restore", "Takes a model back to a checkpoint or to a past step",
      "  lazynorm restore demand 3\n"
      "  lazynorm restore demand --step 1200\n"
      "Going back is a step of the model's history like any other: the step before it can be gone\n"
      "back to. How far back --step reaches depends on the journal, see \"lazynormd --help\".",
      [&session, flags] { return Restore(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("CHECKPOINT", flags->checkpoint, "The checkpoint's id")->type_name("");
  command->add_option("--step", flags->step, "As it was when it last stood at this step")
      ->type_name("STEP");
  AddOutput(command, &flags->output, /*with_csv=*/false);
}

void AddBackup(CLI::App& app, Session& session) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command =
      AddCommand(app, session, "backup", "Copies all models, as of one moment, while they serve",
                 "  lazynorm backup /backups/monday\n"
                 "  lazynormd --data_dir=/var/lib/lazynorm --restore_from=/backups/monday",
                 [&session, folder] { return Backup(session, *folder); });
  command->add_option("FOLDER", *folder, "Made if need be; one backup each")
      ->required()
      ->type_name("");
}

}  // namespace lazynorm
