#ifndef LAZYNORM_SERVER_RPC_POSTED_CALL_H_
#define LAZYNORM_SERVER_RPC_POSTED_CALL_H_

#include <grpcpp/server_context.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/rpc/guard.h"
#include "server/rpc/method.h"
#include "server/rpc/named_models.h"
#include "server/rpc/tag.h"

namespace lazynorm {

// What all kinds of calls share: their life on the completion queue, cancellation, admission and
// metrics. Thread-safe.
//
// Life: posted (gRPC may fill it with a call), accepted, ended (the last word is on its way, or the
// caller went away), gone. It keeps itself alive while anything is under way: each operation given
// to gRPC, and each answer that a handler owes, is one hold.
class PostedCall : public std::enable_shared_from_this<PostedCall> {
 public:
  explicit PostedCall(const Method* method) : method_(method) {}
  virtual ~PostedCall() = default;
  PostedCall(const PostedCall&) = delete;
  PostedCall& operator=(const PostedCall&) = delete;

  // Asks a stream to end with `why` when the messages in work are answered. From any thread.
  virtual void EndWith(absl::Status /*why*/) {}
  // The same for draining, unless it comes to an end by itself.
  void Drain();
  // The same if its caller would not be let in any more.
  void Recheck();
  // Called for streams now and then, on a polling thread: ends one whose caller has neither sent
  // nor taken anything at kQuietLooks of these looks, though it is the caller's turn.
  virtual void Look() {}
  static constexpr int kQuietLooks = 4;

 protected:
  // To be called first, with the tag of gRPC's request operation still to be given to gRPC.
  void Post();
  Tag* request_tag() { return request_tag_.Send(); }
  // The tag of the operation that ends the call.
  Tag* end_tag() { return end_tag_.Send(); }

  void Hold() { holds_.fetch_add(1, std::memory_order_relaxed); }
  // The call may be gone when this returns.
  void Release();

  // The call was let in, on a polling thread.
  virtual void Accept() = 0;
  // The call was not let in: end it with `status`.
  virtual void Refuse(absl::Status status) = 0;
  // The caller went away before the end, on a polling thread.
  virtual void OnGone() {}

  // Marks the end and counts it; what follows is giving gRPC the last operation. Once a call.
  void EndLocked(absl::StatusCode code) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same for an end with OK because there are no more messages. That is also what a caller who
  // went away looks like: only the fate of the last operation tells, and then it is counted.
  void EndUnsureLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The answer goes out and nothing is in work any more: whoever has it may send the next call,
  // before this one is gone. A caller that went away without it is not let in so soon.
  void AnsweredLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { pass_.Leave(); }

  // Keeps the names of models in `message` for the audit.
  template <typename Message>
  void NoteModels(const Message& message) {
    if (!method_->access.audited) return;
    ForEachNamedModel(message, [this](const std::string& model) { NoteModel(model); });
  }
  // PERMISSION_DENIED if the caller may not use a model that `message` names; what Pass::Check says
  // if it may not call any more.
  template <typename Message>
  absl::Status CheckModels(const Message& message) const {
    if (method_->guard == nullptr) return absl::OkStatus();
    absl::Status status = absl::OkStatus();
    bool any = false;
    ForEachNamedModel(message, [&](const std::string& model) {
      any = true;
      if (status.ok()) status = pass_.CheckModel(model);
    });
    return any ? status : pass_.Check();
  }
  // Whether a stream may go on, as far as is known without its next message.
  virtual absl::Status CheckStream() const { return pass_.Check(); }
  const Pass& pass() const { return pass_; }

  // The caller sent or took something. Cheap.
  void MovedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { quiet_looks_ = 0; }
  // One more Look: whether it has been the caller's turn for long enough.
  bool QuietTooLongLocked(bool callers_turn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    quiet_looks_ = callers_turn ? quiet_looks_ + 1 : 0;
    return quiet_looks_ > kQuietLooks;
  }
  // The end of a stream that waited for a message in vain. RESOURCE_EXHAUSTED: it may come again.
  static absl::Status StreamIdle();
  // Runs `fn` after a pause on a polling thread, unless the call is gone then.
  void RunLater(absl::Duration pause, absl::AnyInvocable<void()> fn);

  absl::Time Deadline() const;
  bool Cancelled() const;
  void SetOnCancel(absl::AnyInvocable<void()> fn);
  // Runs what OnCancel asked for, now or as soon as it asks: the call ends without its handler.
  void Abandon();
  std::string MetadataValue(absl::string_view key) const;
  void NoteReplica(absl::string_view address);
  bool by_replica() const { return by_replica_; }

  const Method* const method_;
  grpc::ServerContext context_;
  mutable Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;

 private:
  absl::Status LetIn();
  bool ShowsSecret() const;
  std::string CallerName() const;
  void NoteModel(const std::string& model);
  void Audit(absl::StatusCode code) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnRequest(bool ok);
  void OnDone(bool ok);
  void CallIsOver();
  void OnEnd(bool ok);
  void Count(absl::StatusCode code) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusCode CancelCode() const;

  MemberTag<PostedCall, &PostedCall::OnRequest> request_tag_{this};
  MemberTag<PostedCall, &PostedCall::OnDone> done_tag_{this};
  MemberTag<PostedCall, &PostedCall::OnEnd> end_tag_{this};
  std::atomic<int> holds_ = 0;
  std::shared_ptr<PostedCall> self_;  // set by Post, taken by the last Release
  std::chrono::steady_clock::time_point arrival_;
  Pass pass_;                                    // set before the call is accepted
  bool by_replica_ = false;                      // as is this
  std::string models_ ABSL_GUARDED_BY(mutex_);   // for the audit
  std::string replica_ ABSL_GUARDED_BY(mutex_);  // where it was taken to; for the audit
  int quiet_looks_ ABSL_GUARDED_BY(mutex_) = 0;
  // Several polling threads may take the two events of a short call in either order.
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  bool unsure_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  absl::AnyInvocable<void()> on_cancel_ ABSL_GUARDED_BY(mutex_);
};

// A PostedCall behind one of the interfaces of call.h.
template <typename Interface>
class PostedAs : public PostedCall, public Interface {
 public:
  using PostedCall::PostedCall;
  absl::Time deadline() const override { return Deadline(); }
  bool cancelled() const override { return Cancelled(); }
  void OnCancel(absl::AnyInvocable<void()> fn) override { SetOnCancel(std::move(fn)); }
  std::string Metadata(absl::string_view key) const override { return MetadataValue(key); }
  bool forwarded() const override { return by_replica(); }
  void TakenTo(absl::string_view address) override { NoteReplica(address); }
  bool MayUse(absl::string_view model) const override { return pass().MayUse(model); }
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_POSTED_CALL_H_
