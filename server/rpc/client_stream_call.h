#ifndef LAZYNORM_SERVER_RPC_CLIENT_STREAM_CALL_H_
#define LAZYNORM_SERVER_RPC_CLIENT_STREAM_CALL_H_

#include <grpcpp/support/async_stream.h>

#include <functional>
#include <memory>
#include <utility>

#include "server/rpc/admission.h"
#include "server/rpc/call.h"
#include "server/rpc/posted_call.h"
#include "server/rpc/status.h"

namespace lazynorm {

// A client stream on the completion queue: reads a message, waits until it is taken, reads the
// next.
template <typename Req, typename Resp>
class PostedClientStream final : public PostedAs<Call>, public ReplySink<Resp> {
 public:
  using Reader = grpc::ServerAsyncReader<Resp, Req>;
  using Request = std::function<void(grpc::ServerContext*, Reader*, grpc::CompletionQueue*,
                                     grpc::ServerCompletionQueue*, void*)>;
  using Handler = ClientStreamHandler<Req, Resp>;
  using Factory = std::function<std::unique_ptr<Handler>(Call&)>;

  // The function that posts one call of `method`.
  static std::function<void()> MakePost(const Method* method, Request request, Factory factory) {
    auto shared_factory = std::make_shared<const Factory>(std::move(factory));
    return [=] {
      auto call = std::make_shared<PostedClientStream>(method, shared_factory);
      call->Post();
      request(&call->context_, &call->reader_, method->queue, method->queue, call->request_tag());
    };
  }

  PostedClientStream(const Method* method, std::shared_ptr<const Factory> factory)
      : PostedAs<Call>(method), factory_(std::move(factory)) {}

  void EndWith(absl::Status why) override {
    MutexLock lock(&mutex_);
    if (ending_.ok()) ending_ = std::move(why);
    if (!in_work_) End(ending_);
  }

  void Look() override {
    MutexLock lock(&mutex_);
    if (!ended_ && QuietTooLongLocked(!in_work_ && !paused_)) End(StreamIdle());
  }

  // The answer that OnEnd asked for.
  void Answer(int64_t /*message*/, absl::StatusOr<Resp> answer) override {
    {
      MutexLock lock(&mutex_);
      if (answer.ok() && !ended_) {
        EndLocked(absl::StatusCode::kOk);
        AnsweredLocked();
        Hold();
        method_->metrics->Sent();
        reader_.Finish(*answer, grpc::Status::OK, end_tag());
      } else {
        End(answer.status());
      }
    }
    Release();
  }

 private:
  void Accept() override {
    handler_ = (*factory_)(*this);
    MutexLock lock(&mutex_);
    Read();
  }

  void Refuse(absl::Status status) override {
    MutexLock lock(&mutex_);
    End(status);
  }

  void OnGone() override {
    if (handler_ != nullptr) handler_->OnCancel();
  }

  void Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return;
    Hold();
    reader_.Read(&incoming_, read_tag_.Send());
  }

  void OnRead(bool ok) {
    if (!ok) {
      Probe();
    } else if (TakeIn()) {
      method_->metrics->Received();
      Hold();
      if (std::exchange(has_read_, true)) pause_ = pass().SpendMessage();
      NoteModels(incoming_);
      if (absl::Status may = CheckModels(incoming_); !may.ok()) {
        OnTaken(std::move(may));
      } else {
        handler_->OnMessage(std::move(incoming_),
                            [this](absl::Status taken) { OnTaken(std::move(taken)); });
      }
    }
    Release();
  }

  // There are no more messages, or the caller went away: the two look alike. Something harmless is
  // sent to find out: it fails if nobody is there.
  void Probe() {
    MutexLock lock(&mutex_);
    if (ended_) return;
    Hold();
    reader_.SendInitialMetadata(probe_tag_.Send());
  }

  void OnProbed(bool ok) {
    if (ok && TakeIn()) {
      Hold();
      auto self = std::static_pointer_cast<PostedClientStream>(shared_from_this());
      handler_->OnEnd(Reply<Resp>(std::move(self), 0));
    }
    Release();
  }

  // True if the handler may have what was read.
  bool TakeIn() {
    MutexLock lock(&mutex_);
    if (ended_) return false;
    MovedLocked();
    in_work_ = true;
    return true;
  }

  void OnTaken(absl::Status taken) {
    {
      MutexLock lock(&mutex_);
      in_work_ = false;
      if (!taken.ok()) {
        End(taken);
      } else if (!ending_.ok()) {
        End(ending_);
      } else {
        ReadOn();
      }
    }
    Release();
  }

  // Reads the next message, not before its caller may send one.
  void ReadOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::Duration pause = std::exchange(pause_, absl::ZeroDuration());
    if (pause <= absl::ZeroDuration()) return Read();
    paused_ = true;
    RunLater(pause, [this] {
      MutexLock lock(&mutex_);
      paused_ = false;
      Read();
    });
  }

  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return;
    EndLocked(status.code());
    Hold();
    reader_.FinishWithError(ToGrpcStatus(status), end_tag());
  }

  const std::shared_ptr<const Factory> factory_;
  Reader reader_{&context_};
  MemberTag<PostedClientStream, &PostedClientStream::OnRead> read_tag_{this};
  MemberTag<PostedClientStream, &PostedClientStream::OnProbed> probe_tag_{this};
  Req incoming_;  // gRPC's while a read is on its way, then the polling thread's
  std::unique_ptr<Handler> handler_;              // set once, by Accept, before the first read
  bool has_read_ = false;                         // the polling thread's
  absl::Duration pause_;                          // before the next read; of who has the message
  bool in_work_ ABSL_GUARDED_BY(mutex_) = false;  // the handler has a message, or the end
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;   // the caller was too fast
  absl::Status ending_ ABSL_GUARDED_BY(mutex_);   // asked for: not OK
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_CLIENT_STREAM_CALL_H_
