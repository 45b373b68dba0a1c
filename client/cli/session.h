#ifndef LAZYNORM_CLIENT_CLI_SESSION_H_
#define LAZYNORM_CLIENT_CLI_SESSION_H_

#include <cstdint>
#include <functional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/format.h"
#include "client/client.h"

namespace lazynorm {

// What the commands share: the options before the command, and what became of the command.
// Thread-compatible.
struct Session {
  std::string server = "127.0.0.1:50051";
  std::string timeout = "30s";
  bool tls = false;
  std::string tls_ca, tls_cert, tls_key;
  std::string token, token_file;  // one of them at most
  absl::Status result;

  // InputError: a timeout that is not a duration, a file that cannot be read, a token in plain
  // text.
  absl::StatusOr<Client> Connect() const;
};

// Adds the subcommand `name`, with its examples below its help, and has it keep in `session` what
// `run` returns.
CLI::App* AddCommand(CLI::App& app, Session& session, const std::string& name,
                     const std::string& description, const std::string& examples,
                     std::function<absl::Status()> run);

// Adds --output with table and json, and csv if `with_csv`.
void AddOutput(CLI::App* command, Format* format, bool with_csv);

// Checks that an option's value is a whole number of at least `least`.
CLI::Validator AtLeast(int64_t least);

// Adds the positional MODEL.
void AddModel(CLI::App* command, std::string* model);

// The whole command line: parses, runs, explains an error on the standard error.
// Returns an ExitCode.
int RunCli(int argc, const char* const* argv);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_SESSION_H_
