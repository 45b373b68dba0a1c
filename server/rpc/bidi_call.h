#ifndef LAZYNORM_SERVER_RPC_BIDI_CALL_H_
#define LAZYNORM_SERVER_RPC_BIDI_CALL_H_

#include <grpcpp/support/async_stream.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "server/rpc/admission.h"
#include "server/rpc/call.h"
#include "server/rpc/posted_call.h"
#include "server/rpc/status.h"

namespace lazynorm {

// A bidirectional stream on the completion queue: one read and one write on their way at a time,
// the answers between them kept in the order of the messages.
template <typename Req, typename Resp>
class PostedBidi final : public PostedAs<Call>, public ReplySink<Resp> {
 public:
  using Stream = grpc::ServerAsyncReaderWriter<Resp, Req>;
  using Request = std::function<void(grpc::ServerContext*, Stream*, grpc::CompletionQueue*,
                                     grpc::ServerCompletionQueue*, void*)>;
  using Handler = BidiHandler<Req, Resp>;
  using Factory = std::function<std::unique_ptr<Handler>(Call&)>;

  // The function that posts one call of `method`.
  static std::function<void()> MakePost(const Method* method, Request request, Factory factory) {
    auto shared_factory = std::make_shared<const Factory>(std::move(factory));
    return [=] {
      auto call = std::make_shared<PostedBidi>(method, shared_factory);
      call->Post();
      request(&call->context_, &call->stream_, method->queue, method->queue, call->request_tag());
    };
  }

  // Reading pauses while more than this waits to be sent.
  static constexpr int64_t kMostWaitingBytes = int64_t{1} << 20;

  PostedBidi(const Method* method, std::shared_ptr<const Factory> factory)
      : PostedAs<Call>(method), factory_(std::move(factory)) {}

  void EndWith(absl::Status why) override {
    MutexLock lock(&mutex_);
    if (ending_.ok()) ending_ = std::move(why);
    Advance();
  }

  // Who sends nothing is told; who does not read what it is sent cannot be.
  void Look() override {
    MutexLock lock(&mutex_);
    const bool wants_message = reading_ && answers_.empty();
    if (ended_ || !QuietTooLongLocked(writing_ || wants_message)) return;
    if (writing_) {
      context_.TryCancel();
    } else {
      End(StreamIdle());
    }
  }

  void Answer(int64_t message, absl::StatusOr<Resp> answer) override {
    if (!answer.ok() && Break()) handler_->OnBroken();
    {
      MutexLock lock(&mutex_);
      if (!ended_) Keep(message, std::move(answer));
      Advance();
    }
    Release();
  }

 private:
  void Accept() override {
    handler_ = (*factory_)(*this);
    MutexLock lock(&mutex_);
    Advance();
  }

  void Refuse(absl::Status status) override {
    MutexLock lock(&mutex_);
    End(status);
  }

  void OnGone() override {
    if (handler_ != nullptr) handler_->OnCancel();
  }

  void Keep(int64_t message, absl::StatusOr<Resp> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (answer.ok()) waiting_bytes_ += static_cast<int64_t>(answer->ByteSizeLong());
    answers_[message - first_] = std::move(answer);
  }

  // True if this is the stream's first error.
  bool Break() {
    MutexLock lock(&mutex_);
    return !std::exchange(broken_, true) && !ended_;
  }

  // True while messages that were read are still handed over.
  bool Open() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !ended_ && !broken_ && ending_.ok();
  }

  void OnRead(bool ok) {
    if (ok) {
      method_->metrics->Received();
      OnMessageRead(handler_->MayOverlap(incoming_));
    } else {
      MutexLock lock(&mutex_);
      reading_ = false;
      half_closed_ = true;
      Advance();
    }
    Release();
  }

  void OnMessageRead(bool may_overlap) {
    bool hand_over = false;
    {
      MutexLock lock(&mutex_);
      reading_ = false;
      waiting_ = true;
      MovedLocked();
      PauseIfTooFast();
      hand_over = TakeWaiting(may_overlap);
      if (!hand_over) Advance();
    }
    if (hand_over) HandOver();
  }

  void OnWritten(bool /*ok*/) {
    bool hand_over = false;
    {
      MutexLock lock(&mutex_);
      writing_ = false;
      MovedLocked();
      Advance();
      hand_over = waiting_ && TakeWaiting(/*may_overlap=*/false);
    }
    if (hand_over) HandOver();
    Release();
  }

  void PauseIfTooFast() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(has_read_, true)) return;  // the first is the call itself
    const absl::Duration pause = pass().SpendMessage();
    if (pause <= absl::ZeroDuration()) return;
    paused_ = true;
    RunLater(pause, [this] {
      MutexLock lock(&mutex_);
      paused_ = false;
      Advance();
    });
  }

  // Makes room for the answer to the message that waits, if it may be handed over now.
  bool TakeWaiting(bool may_overlap) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!Open()) {
      waiting_ = false;
      return false;
    }
    if (!may_overlap && (!answers_.empty() || writing_)) return false;
    waiting_ = false;
    handing_over_ = true;
    answers_.emplace_back();
    return true;
  }

  // Gives the message that was read to the handler; its answer is the last of answers_.
  void HandOver() {
    int64_t message = 0;
    {
      MutexLock lock(&mutex_);
      message = first_ + static_cast<int64_t>(answers_.size()) - 1;
    }
    Hold();  // until it is answered
    auto self = std::static_pointer_cast<PostedBidi>(shared_from_this());
    Reply<Resp> reply(std::move(self), message);
    NoteModels(incoming_);
    if (absl::Status may = CheckModels(incoming_); !may.ok()) {
      reply(std::move(may));
    } else {
      handler_->OnMessage(std::move(incoming_), std::move(reply));
    }
    MutexLock lock(&mutex_);
    handing_over_ = false;
    Advance();
  }

  // Starts what can be started now.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return;
    if (!writing_) {
      if (answers_.empty()) {
        if (half_closed_) return EndAfterTheLastMessage();
        if (!ending_.ok() && !handing_over_) return End(ending_);
      } else if (answers_.front().has_value()) {
        WriteFront();
      }
    }
    if (HasRoom() && Open() && !ended_ && !reading_ && !waiting_ && !handing_over_ && !paused_ &&
        !half_closed_) {
      reading_ = true;
      Hold();
      stream_.Read(&incoming_, read_tag_.Send());
    }
  }

  // What a caller may leave unread is bounded in messages and in bytes.
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int>(answers_.size()) < method_->options.window &&
           waiting_bytes_ <= kMostWaitingBytes;
  }

  // Sends the oldest answer, which is there; an error is the stream's last word.
  void WriteFront() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::StatusOr<Resp> answer = *std::move(answers_.front());
    answers_.pop_front();
    ++first_;
    if (!answer.ok()) return End(answer.status());
    waiting_bytes_ -= static_cast<int64_t>(answer->ByteSizeLong());
    writing_ = true;
    Hold();
    method_->metrics->Sent();
    stream_.Write(*answer, written_tag_.Send());  // serialized here
  }

  void EndAfterTheLastMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    EndUnsureLocked();
    AnsweredLocked();
    Hold();
    stream_.Finish(grpc::Status::OK, end_tag());
  }

  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    EndLocked(status.code());
    Hold();
    stream_.Finish(ToGrpcStatus(status), end_tag());
  }

  const std::shared_ptr<const Factory> factory_;
  Stream stream_{&context_};
  MemberTag<PostedBidi, &PostedBidi::OnRead> read_tag_{this};
  MemberTag<PostedBidi, &PostedBidi::OnWritten> written_tag_{this};
  Req incoming_;  // gRPC's while a read is on its way, then the polling thread's
  std::unique_ptr<Handler> handler_;  // set once, by Accept, before the first read

  // Of the messages handed over, oldest first, those whose answers are not yet being sent.
  std::deque<std::optional<absl::StatusOr<Resp>>> answers_ ABSL_GUARDED_BY(mutex_);
  int64_t first_ ABSL_GUARDED_BY(mutex_) = 0;          // the message of answers_.front()
  int64_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of the answers in answers_
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool waiting_ ABSL_GUARDED_BY(mutex_) = false;  // incoming_ holds a message not yet handed over
  bool handing_over_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_read_ ABSL_GUARDED_BY(mutex_) = false;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;  // the caller was too fast
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status ending_ ABSL_GUARDED_BY(mutex_);  // asked for: not OK
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_BIDI_CALL_H_
