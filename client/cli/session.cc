#include "client/cli/session.h"

#include <fstream>
#include <iostream>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

constexpr char kFooter[] =
    "Begin with:\n"
    "  lazynorm train demand events.csv --target sold --create --hidden 32,16 --normalize-input\n"
    "  lazynorm predict demand tomorrow.csv\n"
    "\"lazynorm COMMAND --help\" has the options and examples of each command.\n\n"
    "Exit codes: 0 ok; 1 the server refused; 2 wrong usage or an unusable input file; 3 no server\n"
    "there, or not serving; 4 no such model, service or prediction id.";

void AddCommands(CLI::App& app, Session& session) {
  AddCreate(app, session);
  AddTrain(app, session);
  AddPredict(app, session);
  AddEvaluate(app, session);
  AddGet(app, session);
  AddList(app, session);
  AddDelete(app, session);
  AddUpdate(app, session);
  AddCopy(app, session);
  AddCompare(app, session);
  AddCheckpoint(app, session);
  AddRestore(app, session);
  AddBackup(app, session);
  AddMigrate(app, session);
  AddExport(app, session);
  AddImport(app, session);
  AddFreeze(app, session);
  AddUnfreeze(app, session);
  AddState(app, session);
  AddWatch(app, session);
  AddHealth(app, session);
  AddToken(app, session);
}

// How to reach a server that does not let in everybody.
void AddSecurity(CLI::App& app, Session& session) {
  app.add_flag("--tls", session.tls, "TLS, to a server with a certificate that this system trusts");
  app.add_option("--tls-ca", session.tls_ca, "TLS; the authorities to trust instead, a PEM file")
      ->envname("LAZYNORM_TLS_CA")
      ->type_name("FILE");
  app.add_option("--tls-cert", session.tls_cert, "A certificate of your own for it, a PEM file")
      ->envname("LAZYNORM_TLS_CERT")
      ->type_name("FILE");
  app.add_option("--tls-key", session.tls_key, "The private key of that, a PEM file")
      ->envname("LAZYNORM_TLS_KEY")
      ->type_name("FILE");
  app.add_option("--token", session.token,
                 "The bearer token; who may list processes reads it on the command line")
      ->envname("LAZYNORM_TOKEN")
      ->type_name("TOKEN");
  app.add_option("--token-file", session.token_file, "A file with the bearer token")
      ->type_name("FILE");
}

// Help and version are no errors to CLI11's caller; all else is wrong usage.
int ExitAfterParsing(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  std::string what = error.what();
  if (const auto words = app.remaining(); app.get_subcommands().empty() && !words.empty()) {
    what = absl::StrCat("no command \"", words.front(), "\"");
  }
  std::cerr << "error: " << what << "; see lazynorm --help\n";
  return kExitUsage;
}

}  // namespace

absl::StatusOr<Client> Session::Connect() const {
  ClientOptions options;
  options.target = server;
  if (!absl::ParseDuration(timeout, &options.timeout)) {
    return InputError(absl::StrCat("--timeout: expected a duration like 30s, got ", timeout));
  }
  options.tls = tls;
  options.tls_ca = tls_ca;
  options.tls_cert = tls_cert;
  options.tls_key = tls_key;
  options.token = token;
  if (!token_file.empty()) {
    if (!token.empty()) return InputError("expected --token or --token-file, got both");
    std::ifstream file(token_file);
    if (!(file >> options.token)) return InputError(absl::StrCat("cannot read ", token_file));
  }
  absl::StatusOr<Client> client = Client::Connect(std::move(options));
  return client.ok() ? client : InputError(client.status().message());
}

CLI::App* AddCommand(CLI::App& app, Session& session, const std::string& name,
                     const std::string& description, const std::string& examples,
                     std::function<absl::Status()> run) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Examples:\n" + examples);
  command->callback([&session, run = std::move(run)] { session.result = run(); });
  return command;
}

void AddOutput(CLI::App* command, Format* format, bool with_csv) {
  std::map<std::string, Format> names = {{"table", Format::kTable}, {"json", Format::kJson}};
  if (with_csv) names["csv"] = Format::kCsv;
  command
      ->add_option_function<std::string>(
          "--output,-o",
          [format, names](const std::string& name) {
            const auto found = names.find(name);
            if (found == names.end()) {
              throw CLI::ValidationError(
                  "--output",
                  absl::StrCat("expected table", names.size() > 2 ? ", json or csv" : " or json",
                               ", got ", name));
            }
            *format = found->second;
          },
          with_csv ? "table (default), json: an object a line, or csv" : "table (default) or json")
      ->type_name("FORMAT");
}

CLI::Validator AtLeast(int64_t least) {
  const auto check = [least](const std::string& text) {
    int64_t value = 0;
    if (absl::SimpleAtoi(text, &value) && value >= least) return std::string();
    return absl::StrCat("expected a whole number of at least ", least, ", got ", text);
  };
  return CLI::Validator(check, "");
}

void AddModel(CLI::App* command, std::string* model) {
  command->add_option("MODEL", *model, "The model's id")->required()->type_name("");
}

int RunCli(int argc, const char* const* argv) {
  CLI::App app("Talks to lazynormd, the model server that learns while it serves.", "lazynorm");
  app.footer(kFooter);
  app.set_version_flag("--version", "lazynorm " LAZYNORM_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Session session;
  app.add_option("--server", session.server, "host:port, or unix:/path")
      ->envname("LAZYNORM_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--timeout", session.timeout, "For each call but streams")
      ->type_name("DURATION")
      ->capture_default_str();
  AddSecurity(app, session);
  AddCommands(app, session);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ExitAfterParsing(app, error);
  }
  std::cout.flush();
  if (!session.result.ok()) {
    std::cerr << "error: " << Explain(session.result, session.server, session.timeout) << "\n";
  }
  return ExitCodeOf(session.result);
}

}  // namespace lazynorm
