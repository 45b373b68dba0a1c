#include "server/rpc/posted_call.h"

#include "absl/time/clock.h"
#include "server/rpc/admission.h"

namespace lazynorm {

void PostedCall::Post() {
  self_ = shared_from_this();
  method_->admission->Posted();
  holds_ = 2;  // the request's tag, and the tag that says that the call is over
  context_.AsyncNotifyWhenDone(done_tag_.Send());
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
  if (absl::Status let_in = method_->admission->Enter(this, *method_); let_in.ok()) {
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
