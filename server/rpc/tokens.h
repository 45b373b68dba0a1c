#ifndef LAZYNORM_SERVER_RPC_TOKENS_H_
#define LAZYNORM_SERVER_RPC_TOKENS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/rpc/access.h"

namespace lazynorm {

// The SHA-256 of a token.
using TokenHash = std::array<uint8_t, 32>;

// Who a token belongs to. Immutable.
struct Caller {
  std::string name;
  Role role = Role::kPredict;
  std::vector<std::string> models;  // patterns with * and ?; empty: all models
  TokenHash token = {};

  bool MayUse(absl::string_view model) const;
};

// The bearer tokens that are let in, known by their hashes only. Immutable.
class Tokens {
 public:
  static constexpr int kMostTokens = 1000;  // all are compared with, for each call

  // The text of a tokens file, a line a token:
  //
  //   NAME ROLE SHA256 [PATTERN ...]
  //
  // ROLE is predict, train or admin, SHA256 the token's hash in 64 hexadecimal digits, a PATTERN
  // stands for models by * and ?. What follows # is a comment. One name may have several tokens.
  // INVALID_ARGUMENT naming the line, and nothing of what stands there: it may be a secret.
  static absl::StatusOr<std::shared_ptr<const Tokens>> Parse(absl::string_view text);

  // Whose token this is; null if nobody's. Takes as long for any token.
  std::shared_ptr<const Caller> Find(absl::string_view token) const;
  std::shared_ptr<const Caller> Find(const TokenHash& hash) const;

  int size() const { return static_cast<int>(callers_.size()); }

 private:
  std::vector<std::shared_ptr<const Caller>> callers_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TOKENS_H_
