#include "server/rpc/guard.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

constexpr absl::string_view kBearer = "bearer ";  // RFC 6750, section 2.1; any case

absl::Status Unauthenticated(absl::string_view message) {
  return MakeError(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "", message);
}

absl::Status PermissionDenied(absl::string_view message) {
  return MakeError(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED", "", message);
}

absl::StatusOr<std::shared_ptr<const Caller>> Identify(const Tokens& tokens,
                                                       absl::string_view authorization) {
  if (authorization.empty()) {
    return Unauthenticated("expected metadata \"authorization: Bearer TOKEN\", got none");
  }
  if (!absl::StartsWithIgnoreCase(authorization, kBearer)) {
    return Unauthenticated("authorization: expected \"Bearer TOKEN\"");
  }
  authorization.remove_prefix(kBearer.size());
  std::shared_ptr<const Caller> caller = tokens.Find(absl::StripAsciiWhitespace(authorization));
  if (caller == nullptr) return Unauthenticated("authorization: the token is not known");
  return caller;
}

absl::Status CheckRole(const Caller& caller, const Access& access) {
  if (caller.role < access.role) {
    return PermissionDenied(absl::StrCat("expected the role ", NameOf(access.role),
                                         ", the token of ", caller.name, " has ",
                                         NameOf(caller.role)));
  }
  if (access.all_models && !caller.models.empty()) {
    return PermissionDenied(
        absl::StrCat("expected a token for all models, that of ", caller.name, " is for some"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Caller>> Pass::CallerNow() const {
  if (caller_ == nullptr) return caller_;
  const std::shared_ptr<const Tokens> tokens = guard_->tokens_.Get();
  if (tokens == tokens_) return caller_;
  std::shared_ptr<const Caller> now = tokens->Find(caller_->token);
  if (now == nullptr) return Unauthenticated("authorization: the token is not known any more");
  RETURN_IF_ERROR(CheckRole(*now, access_));
  return now;
}

absl::Status Pass::CheckModel(absl::string_view model) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Caller> caller, CallerNow());
  if (caller == nullptr || caller->MayUse(model)) return absl::OkStatus();
  return PermissionDenied(absl::StrCat("the token of ", caller->name, " is not for this model"));
}

absl::Duration Pass::SpendMessage() const {
  return account_ == nullptr ? absl::ZeroDuration() : account_->Spend(absl::Now());
}

absl::Status Guard::Admit(const Access& access, absl::string_view authorization,
                          absl::FunctionRef<std::string()> address, Pass* pass, bool counted) {
  if (access.role == Role::kNobody) return absl::OkStatus();
  if (closed_) {
    pass->guard_ = this;
    pass->access_ = access;
    pass->tokens_ = tokens_.Get();
    ASSIGN_OR_RETURN(pass->caller_, Identify(*pass->tokens_, authorization));
    RETURN_IF_ERROR(CheckRole(*pass->caller_, access));
  }
  if (counted || !limits_.enabled()) return absl::OkStatus();
  const absl::Time now = absl::Now();
  auto account = limits_.AccountOf(closed_ ? pass->caller_->name : address(), now);
  RETURN_IF_ERROR(account->Enter(now));
  pass->account_ = std::move(account);
  return absl::OkStatus();
}

}  // namespace lazynorm
