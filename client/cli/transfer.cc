// The commands export and import.
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/describe.h"
#include "client/cli/errors.h"
#include "client/cli/new_file.h"
#include "client/cli/spec_flags.h"

namespace lazynorm {
namespace {

constexpr size_t kPiece = size_t{1} << 20;

struct ExportFlags {
  std::string model, path, format;
};

struct ImportFlags {
  std::string model, path, spec;
  Format output = Format::kTable;
};

v1::ExportFormat FormatOf(const ExportFlags& flags) {
  const bool onnx =
      flags.format.empty() ? absl::EndsWith(flags.path, ".onnx") : flags.format == "onnx";
  return onnx ? v1::EXPORT_FORMAT_ONNX : v1::EXPORT_FORMAT_SAFETENSORS;
}

absl::Status Export(const Session& session, const ExportFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  NewFile file(flags.path);
  int64_t bytes = 0;
  const absl::Status streamed =
      client->ExportModel(flags.model, FormatOf(flags), [&](absl::string_view data) {
        bytes += static_cast<int64_t>(data.size());
        return file.Write(data);
      });
  if (!file.status().ok()) return file.status();
  if (!streamed.ok()) return streamed;
  if (const absl::Status kept = file.Keep(); !kept.ok()) return kept;
  std::cout << flags.path << ": " << bytes << " bytes\n";
  return absl::OkStatus();
}

absl::Status Import(const Session& session, const ImportFlags& flags) {
  v1::ImportModelRequest first;
  first.set_model_id(flags.model);
  if (!flags.spec.empty()) {
    absl::StatusOr<v1::ModelSpec> spec = ToSpec(SpecFlags{.file = flags.spec});
    if (!spec.ok()) return spec.status();
    *first.mutable_spec() = *std::move(spec);
  }
  std::ifstream file(flags.path, std::ios::binary);
  if (!file) return InputError(absl::StrCat(flags.path, ": cannot be read"));
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const auto model = client->ImportModel(std::move(first), [&]() -> absl::StatusOr<std::string> {
    std::string piece(kPiece, '\0');
    file.read(piece.data(), kPiece);
    piece.resize(file.gcount());
    if (file.bad()) return InputError(absl::StrCat(flags.path, ": cannot be read"));
    return piece;
  });
  if (!model.ok()) return model.status();
  Describe(*model, flags.output, &std::cout);
  return absl::OkStatus();
}

}  // namespace

void AddExport(CLI::App& app, Session& session) {
  auto flags = std::make_shared<ExportFlags>();
  CLI::App* command =
      AddCommand(app, session, "export", "Writes a model into a file for other programs",
                 "  lazynorm export demand demand.safetensors    the state, under torch's names\n"
                 "  lazynorm export demand demand.onnx           the network as it predicts now",
                 [&session, flags] { return Export(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("FILE", flags->path, "An older one of this name is replaced")
      ->required()
      ->type_name("");
  command->add_option("--format", flags->format, "What the name of the file does not say")
      ->check(CLI::IsMember({"safetensors", "onnx"}));
}

void AddImport(CLI::App& app, Session& session) {
  auto flags = std::make_shared<ImportFlags>();
  CLI::App* command =
      AddCommand(app, session, "import", "Makes a model of a safetensors file",
                 "  lazynorm import demand-2 demand.safetensors\n"
                 "  lazynorm import demand torch.safetensors --spec demand.textproto\n"
                 "What lazynorm export wrote has its spec with it; the state_dict of a torch\n"
                 "Sequential needs one. The optimizer starts fresh.",
                 [&session, flags] { return Import(session, *flags); });
  AddModel(command, &flags->model);
  command->add_option("FILE", flags->path, "")->required()->type_name("");
  command->add_option("--spec", flags->spec, "A ModelSpec, as create takes it")->type_name("FILE");
  AddOutput(command, &flags->output, /*with_csv=*/false);
}

}  // namespace lazynorm
