#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

struct Flags {
  std::string from, to;
};

// Only the server knows stores: this becomes the lazynormd beside it, or the one on the PATH.
absl::Status Migrate(const Flags& flags) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path beside = fs::canonical("/proc/self/exe", error).parent_path() / "lazynormd";
  const std::string program = fs::exists(beside, error) ? beside.string() : "lazynormd";
  const std::string from = "--migrate_from=" + flags.from, to = "--store=" + flags.to;
  execlp(program.c_str(), program.c_str(), from.c_str(), to.c_str(), nullptr);
  return InputError(absl::StrCat("cannot run ", program, ": ", strerror(errno)));
}

}  // namespace

void AddMigrate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(
      app, session, "migrate", "Copies all models of one store into another, with their history",
      "  lazynorm migrate --from sqlite:///var/lib/lazynorm/lazynorm.db \\\n"
      "    --to postgresql://lazynorm@db.example/lazynorm\n"
      "Stop the servers of both first. May be repeated; lazynormd must be installed.",
      [flags] { return Migrate(*flags); });
  const auto add = [&](const char* name, std::string* value, const char* what) {
    command->add_option(name, *value, what)->required()->type_name("URI");
  };
  add("--from", &flags->from, "The store to read, as for lazynormd --store");
  add("--to", &flags->to, "The store to fill; made if need be");
}

}  // namespace lazynorm
