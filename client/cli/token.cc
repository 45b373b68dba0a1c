#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm token dashboard                             may predict, with every model\n"
    "  lazynorm token feeder --role train --models 'demand-*'\n"
    "  (umask 077; lazynorm token root --role admin --append /etc/lazynorm/tokens >root.token)\n"
    "The token is on the standard output and kept nowhere: give it to the caller. The line is for\n"
    "the file that lazynormd --auth_tokens_file names; from its hash nobody gets back to the "
    "token.";

constexpr size_t kRandomBytes = 32;

// What is wrong with a name or a pattern, as CLI11 wants to hear it: "" for nothing.
std::string IsTokenName(const std::string& name) {
  const bool good =
      !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
        return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
      });
  return good ? "" : "expected up to 64 letters, digits, dots, dashes and underscores, got " + name;
}

std::string IsPattern(const std::string& pattern) {
  const bool good =
      !pattern.empty() && pattern.size() <= 63 &&
      pattern.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-*?") == std::string::npos;
  return good ? "" : "expected a model id with * and ? in it or not, got " + pattern;
}

struct Wanted {
  std::string name;
  std::string role = "predict";
  std::vector<std::string> models;
  std::string append;
};

// What is told from other tokens by its beginning, and found by scanners of secrets.
absl::StatusOr<std::string> NewToken() {
  std::string bytes(kRandomBytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), kRandomBytes) != 1) {
    return absl::InternalError("no random numbers could be had");
  }
  return absl::StrCat("lazynorm_", absl::WebSafeBase64Escape(bytes));
}

std::string HashOf(const std::string& token) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return absl::BytesToHexString(hash);
}

// Or is empty, or not there.
bool EndsInALine(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() == std::streampos(0)) return true;
  file.seekg(-1, std::ios::end);
  return file.get() == '\n';
}

absl::Status Token(const Wanted& wanted) {
  const absl::StatusOr<std::string> token = NewToken();
  if (!token.ok()) return token.status();
  const std::string line =
      absl::StrCat(wanted.name, " ", wanted.role, " ", HashOf(*token),
                   wanted.models.empty() ? "" : " ", absl::StrJoin(wanted.models, " "), "\n");
  if (wanted.append.empty()) {
    std::cerr << "The line for the tokens file:\n" << line << "The token:\n";
  } else {
    std::ofstream file(wanted.append, std::ios::app);
    file << (EndsInALine(wanted.append) ? "" : "\n") << line;
    if (!file.flush()) {
      return InputError(absl::StrCat("cannot write to ", wanted.append, ": ", strerror(errno)));
    }
  }
  std::cout << *token << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddToken(CLI::App& app, Session& session) {
  auto wanted = std::make_shared<Wanted>();
  CLI::App* command = AddCommand(app, session, "token", "Makes a bearer token", kExamples,
                                 [wanted] { return Token(*wanted); });
  command->add_option("NAME", wanted->name, "Whose it is, for the log and the limits of a caller")
      ->required()
      ->check(CLI::Validator(IsTokenName, ""))
      ->type_name("");
  command->add_option("--role", wanted->role, "predict, train (and predict) or admin (everything)")
      ->check(CLI::IsMember({"predict", "train", "admin"}))
      ->type_name("ROLE")
      ->capture_default_str();
  command
      ->add_option("--models", wanted->models,
                   "Models it is for, with * and ? for what may stand there; all if not given")
      ->check(CLI::Validator(IsPattern, ""))
      ->delimiter(',')
      ->type_name("PATTERN,...");
  command->add_option("--append", wanted->append, "The tokens file, to write the line to")
      ->type_name("FILE");
}

}  // namespace lazynorm
