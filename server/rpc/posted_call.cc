#include "server/rpc/posted_call.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/base/log_text.h"
#include "server/rpc/admission.h"
#include "server/rpc/peer_address.h"
#include "server/rpc/timer.h"

namespace lazynorm {
namespace {

constexpr size_t kMostModelText = 256;  // of an audit record

absl::string_view ViewOf(grpc::string_ref text) {
  return {text.data(), text.size()};
}

}  // namespace

void PostedCall::Post() {
  self_ = shared_from_this();
  method_->admission->Posted();
  holds_ = 2;  // the request's tag, and the tag that says that the call is over
  context_.AsyncNotifyWhenDone(done_tag_.Send());
}

void PostedCall::Drain() {
  if (!method_->options.ends_by_itself) EndWith(DrainingError());
}

void PostedCall::Recheck() {
  if (absl::Status may = CheckStream(); !may.ok()) EndWith(std::move(may));
}

void PostedCall::Release() {
  if (holds_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  Admission* const admission = method_->admission;
  std::exchange(self_, nullptr).reset();  // usually the end of this
  admission->Gone();
}

void PostedCall::OnRequest(bool ok) {
  if (!ok) {  // the server is shutting down; gRPC sends no done tag for a call that never was
    Release();
    Release();
    return;
  }
  method_->post();
  arrival_ = std::chrono::steady_clock::now();
  method_->metrics->Started();
  if (absl::Status let_in = LetIn(); let_in.ok()) {
    Accept();
  } else {
    Refuse(std::move(let_in));
  }
  bool over = false;
  {
    MutexLock lock(&mutex_);
    begun_ = true;
    over = over_;
  }
  if (over) CallIsOver();
  Release();
}

bool PostedCall::ShowsSecret() const {
  const absl::string_view secret = method_->replica_secret;
  if (secret.empty()) return false;
  const auto found = context_.client_metadata().find(kForwardedKey);
  return found != context_.client_metadata().end() && found->second.size() == secret.size() &&
         CRYPTO_memcmp(found->second.data(), secret.data(), secret.size()) == 0;
}

absl::Status PostedCall::LetIn() {
  by_replica_ = ShowsSecret();
  if (method_->guard != nullptr) {
    const auto& metadata = context_.client_metadata();
    const auto found = metadata.find("authorization");
    RETURN_IF_ERROR(method_->guard->Admit(
        method_->access, found == metadata.end() ? absl::string_view() : ViewOf(found->second),
        [this] { return CallerName(); }, &pass_, /*counted=*/by_replica_));
  }
  return method_->admission->Enter(this, *method_);
}

// By its token, its certificate or its address, whichever there is first.
std::string PostedCall::CallerName() const {
  if (!pass_.name().empty()) return std::string(pass_.name());
  const std::shared_ptr<const grpc::AuthContext> auth = context_.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    const std::vector<grpc::string_ref> names = auth->FindPropertyValues("x509_common_name");
    if (!names.empty()) return absl::StrCat("certificate:", ViewOf(names[0]));
  }
  return PeerAddress(context_.peer());
}

void PostedCall::NoteModel(const std::string& model) {
  MutexLock lock(&mutex_);
  if (models_.size() >= kMostModelText) return;
  absl::StrAppend(&models_, models_.empty() ? "" : ",",
                  absl::CHexEscape(model.substr(0, kMostModelText)));
}

void PostedCall::NoteReplica(absl::string_view address) {
  MutexLock lock(&mutex_);
  replica_ = std::string(address);
}

void PostedCall::Audit(absl::StatusCode code) const {
  spdlog::info("event=audit caller={} method={}/{} model={} code={}{}",
               LogText(absl::CHexEscape(CallerName())), method_->service, method_->name,
               LogText(models_), absl::StatusCodeToString(code),
               replica_.empty() ? "" : absl::StrCat(" writer=", LogText(replica_)));
}

absl::Status PostedCall::StreamIdle() {
  return MakeError(absl::StatusCode::kResourceExhausted, "STREAM_IDLE", "",
                   "no message came for too long; begin another stream");
}

void PostedCall::RunLater(absl::Duration pause, absl::AnyInvocable<void()> fn) {
  method_->timers->RunAt(
      method_->queue, absl::Now() + pause, [weak = weak_from_this(), fn = std::move(fn)]() mutable {
        if (const std::shared_ptr<PostedCall> alive = weak.lock(); alive != nullptr) fn();
      });
}

void PostedCall::OnDone(bool /*ok*/) {
  {
    MutexLock lock(&mutex_);
    over_ = true;
    if (!begun_) return;
  }
  CallIsOver();
}

void PostedCall::CallIsOver() {
  absl::AnyInvocable<void()> on_cancel;
  bool gone = false;
  {
    MutexLock lock(&mutex_);
    // Done before the end: nobody is there any more to be answered.
    gone = !ended_;
    if (gone) {
      cancelled_ = true;
      EndLocked(CancelCode());
    }
    // It may hold this call alive. OnEnd wants it if it is unsure.
    if (!unsure_) on_cancel = std::exchange(on_cancel_, nullptr);
  }
  if (gone) {
    if (on_cancel) on_cancel();
    OnGone();
  }
  Release();
}

void PostedCall::EndLocked(absl::StatusCode code) {
  ended_ = true;
  Count(code);
  if (method_->type != RpcType::kUnary) method_->admission->Leave(this);
}

void PostedCall::EndUnsureLocked() {
  ended_ = true;
  unsure_ = true;
  method_->admission->Leave(this);
}

void PostedCall::OnEnd(bool ok) {
  absl::AnyInvocable<void()> on_cancel;
  bool gone = false;
  {
    MutexLock lock(&mutex_);
    if (std::exchange(unsure_, false)) {
      gone = cancelled_ = !ok;
      Count(ok ? absl::StatusCode::kOk : CancelCode());
      on_cancel = std::exchange(on_cancel_, nullptr);
    }
  }
  if (gone) {
    if (on_cancel) on_cancel();
    OnGone();
  }
  Release();
}

void PostedCall::Count(absl::StatusCode code) {
  const auto elapsed = std::chrono::steady_clock::now() - arrival_;
  method_->metrics->Finished(code, absl::FromChrono(elapsed));
  // What another replica has brought, it has a line of.
  if (method_->access.audited && !by_replica_) Audit(code);
}

absl::StatusCode PostedCall::CancelCode() const {
  // A caller that gives up at its deadline is usually heard of a moment before our own clock says
  // so.
  constexpr absl::Duration kAllowance = absl::Milliseconds(10);
  return absl::Now() + kAllowance >= Deadline() ? absl::StatusCode::kDeadlineExceeded
                                                : absl::StatusCode::kCancelled;
}

absl::Time PostedCall::Deadline() const {
  const std::chrono::system_clock::time_point deadline = context_.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

bool PostedCall::Cancelled() const {
  MutexLock lock(&mutex_);
  return cancelled_;
}

void PostedCall::SetOnCancel(absl::AnyInvocable<void()> fn) {
  {
    MutexLock lock(&mutex_);
    if (!cancelled_ && !abandoned_) {
      if (!ended_) on_cancel_ = std::move(fn);
      return;
    }
  }
  fn();
}

void PostedCall::Abandon() {
  absl::AnyInvocable<void()> on_cancel;
  {
    MutexLock lock(&mutex_);
    abandoned_ = true;
    on_cancel = std::exchange(on_cancel_, nullptr);
  }
  if (on_cancel) on_cancel();
}

std::string PostedCall::MetadataValue(absl::string_view key) const {
  const auto& metadata = context_.client_metadata();
  const auto found = metadata.find(grpc::string_ref(key.data(), key.size()));
  if (found == metadata.end()) return "";
  return std::string(found->second.data(), found->second.size());
}

}  // namespace lazynorm
