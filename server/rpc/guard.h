#ifndef LAZYNORM_SERVER_RPC_GUARD_H_
#define LAZYNORM_SERVER_RPC_GUARD_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/published.h"
#include "server/rpc/access.h"
#include "server/rpc/caller_limits.h"
#include "server/rpc/tokens.h"

namespace lazynorm {

class Guard;

// What a call was let in with, for as long as it lives. A default one is that of a server without
// tokens and limits. Movable; otherwise thread-compatible.
class Pass {
 public:
  Pass() = default;
  Pass(Pass&& other) noexcept { *this = std::move(other); }
  Pass& operator=(Pass&& other) noexcept {
    std::swap(guard_, other.guard_);
    std::swap(access_, other.access_);
    tokens_.swap(other.tokens_);
    caller_.swap(other.caller_);
    account_.swap(other.account_);
    std::swap(left_, other.left_);
    return *this;
  }
  ~Pass() { Leave(); }

  // The call does not count as in flight any more. At the latest when it is gone.
  void Leave() {
    if (account_ != nullptr && !std::exchange(left_, true)) account_->Leave();
  }

  // Whose token it was, "" without tokens.
  absl::string_view name() const {
    return caller_ == nullptr ? absl::string_view() : absl::string_view(caller_->name);
  }
  bool MayUse(absl::string_view model) const {
    return caller_ == nullptr || caller_->MayUse(model);
  }
  // Whether its caller would be let in now, with the tokens as they have become: UNAUTHENTICATED,
  // PERMISSION_DENIED.
  absl::Status Check() const { return CallerNow().status(); }
  // The same, and PERMISSION_DENIED for a model that the token is not for, whether it is there or
  // not.
  absl::Status CheckModel(absl::string_view model) const;
  // A further message has come: how long to wait before the next is read.
  absl::Duration SpendMessage() const;

 private:
  friend class Guard;

  absl::StatusOr<std::shared_ptr<const Caller>> CallerNow() const;

  const Guard* guard_ = nullptr;
  Access access_;
  std::shared_ptr<const Tokens> tokens_;  // those of then
  std::shared_ptr<const Caller> caller_;
  std::shared_ptr<CallerAccount> account_;
  bool left_ = false;  // account_ knows that the call is over
};

// Decides who may call, and how much. Thread-safe.
class Guard {
 public:
  // `tokens`: null lets everybody do everything.
  explicit Guard(std::shared_ptr<const Tokens> tokens, CallerLimitOptions limits = {})
      : closed_(tokens != nullptr), tokens_(std::move(tokens)), limits_(limits) {}

  // False if everybody may do everything, as much as they like.
  bool active() const { return closed_ || limits_.enabled(); }
  // For the calls and the messages that come from now on. Only where there were tokens before.
  void SetTokens(std::shared_ptr<const Tokens> tokens) { tokens_.Set(std::move(tokens)); }

  // Lets a call in, or says why not: UNAUTHENTICATED; PERMISSION_DENIED; RESOURCE_EXHAUSTED, reason
  // RATE_LIMITED. `authorization` is what it sent under that name, `address` says where it comes
  // from. `pass` has the caller's name as soon as that is known. `counted`: its limits have been
  // looked at elsewhere.
  absl::Status Admit(const Access& access, absl::string_view authorization,
                     absl::FunctionRef<std::string()> address, Pass* pass, bool counted = false);

 private:
  friend class Pass;

  const bool closed_;
  Published<Tokens> tokens_;
  CallerLimits limits_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_GUARD_H_
