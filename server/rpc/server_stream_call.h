#ifndef LAZYNORM_SERVER_RPC_SERVER_STREAM_CALL_H_
#define LAZYNORM_SERVER_RPC_SERVER_STREAM_CALL_H_

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

// A server stream on the completion queue: one write on its way, the others wait in a queue.
template <typename Req, typename Resp>
class PostedServerStream final : public PostedAs<ServerStream<Req, Resp>> {
 public:
  using Writer = grpc::ServerAsyncWriter<Resp>;
  using Request = std::function<void(grpc::ServerContext*, Req*, Writer*, grpc::CompletionQueue*,
                                     grpc::ServerCompletionQueue*, void*)>;
  using Handler = std::function<void(std::shared_ptr<ServerStream<Req, Resp>>)>;

  // The function that posts one call of `method`.
  static std::function<void()> MakePost(const Method* method, Request request, Handler handler) {
    auto shared_handler = std::make_shared<const Handler>(std::move(handler));
    return [=] {
      auto call = std::make_shared<PostedServerStream>(method, shared_handler);
      call->Post();
      request(&call->context_, &call->request_, &call->writer_, method->queue, method->queue,
              call->request_tag());
    };
  }

  PostedServerStream(const Method* method, std::shared_ptr<const Handler> handler)
      : PostedAs<ServerStream<Req, Resp>>(method), handler_(std::move(handler)) {}

  void Write(Resp response, absl::AnyInvocable<void()> written = nullptr) override {
    MutexLock lock(&this->mutex_);
    if (ending_.has_value()) return;
    queue_.push_back({std::move(response), std::move(written)});
    Advance();
  }

  void WriteLatest(Resp response) override {
    MutexLock lock(&this->mutex_);
    if (ending_.has_value()) return;
    queue_.clear();
    queue_.push_back({std::move(response), nullptr});
    Advance();
  }

  void Finish(absl::Status status) override {
    MutexLock lock(&this->mutex_);
    if (ending_.has_value()) return;
    ending_ = std::move(status);
    Advance();
  }

  void EndWith(absl::Status why) override {
    this->Abandon();  // first: the end may be over, and OnCancel's function gone, when Finish
                      // returns
    Finish(std::move(why));
  }

  // A caller that does not read cannot be told why, either.
  void Look() override {
    MutexLock lock(&this->mutex_);
    if (!this->ended_ && this->QuietTooLongLocked(writing_)) this->context_.TryCancel();
  }

 private:
  struct Waiting {
    Resp response;
    absl::AnyInvocable<void()> written;
  };

  void Accept() override {
    this->method_->metrics->Received();
    this->NoteModels(this->request_);
    absl::Status may = this->CheckModels(this->request_);
    if (!may.ok()) return Finish(std::move(may));
    (*handler_)(std::static_pointer_cast<PostedServerStream>(this->shared_from_this()));
  }

  void Refuse(absl::Status status) override {
    this->NoteModels(this->request_);
    Finish(std::move(status));
  }

  absl::Status CheckStream() const override { return this->CheckModels(this->request_); }

  void OnWritten(bool ok) {
    absl::AnyInvocable<void()> written;
    {
      MutexLock lock(&this->mutex_);
      writing_ = false;
      this->MovedLocked();
      written = std::exchange(written_, nullptr);
      Advance();
    }
    if (ok && written != nullptr) written();
    this->Release();
  }

  // Starts what can be started now.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(this->mutex_) {
    if (this->ended_) {
      queue_.clear();
      return;
    }
    if (writing_) return;
    if (!queue_.empty()) {
      writing_ = true;
      this->Hold();
      this->method_->metrics->Sent();
      writer_.Write(queue_.front().response, written_tag_.Send());  // serialized here
      written_ = std::move(queue_.front().written);
      queue_.pop_front();
    } else if (ending_.has_value()) {
      this->EndLocked(ending_->code());
      this->AnsweredLocked();
      this->Hold();
      writer_.Finish(ToGrpcStatus(*ending_), this->end_tag());
    }
  }

  const std::shared_ptr<const Handler> handler_;
  Writer writer_{&this->context_};
  MemberTag<PostedServerStream, &PostedServerStream::OnWritten> written_tag_{this};
  std::deque<Waiting> queue_ ABSL_GUARDED_BY(this->mutex_);
  absl::AnyInvocable<void()> written_ ABSL_GUARDED_BY(this->mutex_);  // of the one on its way
  bool writing_ ABSL_GUARDED_BY(this->mutex_) = false;
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(this->mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_SERVER_STREAM_CALL_H_
