#include "server/rpc/tokens.h"

#include <fnmatch.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace lazynorm {
namespace {

constexpr size_t kLongestName = 64;
constexpr size_t kLongestModelId = 63;
constexpr char kExpected[] =
    "expected NAME, a role (predict, train or admin), the SHA-256 of the token in 64 hexadecimal "
    "digits, and patterns of models or none";

bool IsRole(absl::string_view word, Role* role) {
  for (const Role each : {Role::kPredict, Role::kTrain, Role::kAdmin}) {
    if (word != NameOf(each)) continue;
    *role = each;
    return true;
  }
  return false;
}

bool IsHash(absl::string_view word) {
  return word.size() == 2 * SHA256_DIGEST_LENGTH &&
         std::all_of(word.begin(), word.end(), absl::ascii_isxdigit);
}

bool IsName(absl::string_view word) {
  return word.size() <= kLongestName && std::all_of(word.begin(), word.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

bool IsPattern(absl::string_view word) {
  return word.size() <= kLongestModelId && std::all_of(word.begin(), word.end(), [](char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || c == '*' ||
                  c == '?';
         });
}

}  // namespace

bool Caller::MayUse(absl::string_view model) const {
  if (models.empty()) return true;
  if (model.size() > kLongestModelId) return false;
  const std::string name(model);
  return std::any_of(models.begin(), models.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
  });
}

absl::StatusOr<std::shared_ptr<const Tokens>> Tokens::Parse(absl::string_view text) {
  auto tokens = std::make_shared<Tokens>();
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    Caller caller;
    if (words.size() < 3 || !IsName(words[0]) || !IsRole(words[1], &caller.role) ||
        !IsHash(words[2]) || !std::all_of(words.begin() + 3, words.end(), IsPattern)) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", kExpected));
    }
    caller.name = std::string(words[0]);
    for (size_t i = 3; i < words.size(); ++i) caller.models.emplace_back(words[i]);
    std::memcpy(caller.token.data(), absl::HexStringToBytes(words[2]).data(), caller.token.size());
    if (const auto other = tokens->Find(caller.token); other != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": expected another token than ", other->name, " has"));
    }
    tokens->callers_.push_back(std::make_shared<const Caller>(std::move(caller)));
  }
  if (tokens->size() < 1 || tokens->size() > kMostTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected 1 to ", kMostTokens, " tokens, got ", tokens->size()));
  }
  return tokens;
}

std::shared_ptr<const Caller> Tokens::Find(absl::string_view token) const {
  TokenHash hash;
  SHA256(reinterpret_cast<const uint8_t*>(token.data()), token.size(), hash.data());
  return Find(hash);
}

std::shared_ptr<const Caller> Tokens::Find(const TokenHash& hash) const {
  const std::shared_ptr<const Caller>* found = nullptr;
  for (const auto& caller : callers_) {
    if (CRYPTO_memcmp(caller->token.data(), hash.data(), hash.size()) == 0) found = &caller;
  }
  return found == nullptr ? nullptr : *found;
}

}  // namespace lazynorm
