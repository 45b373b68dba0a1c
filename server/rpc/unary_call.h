#ifndef LAZYNORM_SERVER_RPC_UNARY_CALL_H_
#define LAZYNORM_SERVER_RPC_UNARY_CALL_H_

#include <grpcpp/support/async_unary_call.h>

#include <functional>
#include <memory>
#include <utility>

#include "server/rpc/call.h"
#include "server/rpc/posted_call.h"
#include "server/rpc/status.h"

namespace lazynorm {

// A unary call on the completion queue: request, handler, Finish, nothing in between.
template <typename Req, typename Resp>
class PostedUnaryCall final : public PostedAs<UnaryCall<Req, Resp>> {
 public:
  using Writer = grpc::ServerAsyncResponseWriter<Resp>;
  using Request = std::function<void(grpc::ServerContext*, Req*, Writer*, grpc::CompletionQueue*,
                                     grpc::ServerCompletionQueue*, void*)>;
  using Handler = std::function<void(UnaryCall<Req, Resp>&)>;

  // The function that posts one call of `method`.
  static std::function<void()> MakePost(const Method* method, Request request, Handler handler) {
    auto shared_handler = std::make_shared<const Handler>(std::move(handler));
    return [=] {
      auto call = std::make_shared<PostedUnaryCall>(method, shared_handler);
      call->Post();
      request(&call->context_, &call->request_, &call->writer_, method->queue, method->queue,
              call->request_tag());
    };
  }

  PostedUnaryCall(const Method* method, std::shared_ptr<const Handler> handler)
      : PostedAs<UnaryCall<Req, Resp>>(method), handler_(std::move(handler)) {}

  void Finish(absl::Status status) override {
    {
      MutexLock lock(&this->mutex_);
      this->AnsweredLocked();
      if (!this->ended_) this->EndLocked(status.code());
    }
    // The handler's hold becomes that of the last operation. If the caller is gone, it fails.
    if (status.ok()) {
      this->method_->metrics->Sent();
      writer_.Finish(this->response_, grpc::Status::OK, this->end_tag());
    } else {
      writer_.FinishWithError(ToGrpcStatus(status), this->end_tag());
    }
  }

 private:
  void Accept() override {
    this->method_->metrics->Received();
    this->Hold();  // until Finish
    this->NoteModels(this->request_);
    absl::Status may = this->CheckModels(this->request_);
    if (!may.ok()) return Finish(std::move(may));
    (*handler_)(*this);
  }

  void Refuse(absl::Status status) override {
    this->Hold();
    this->NoteModels(this->request_);
    Finish(std::move(status));
  }

  const std::shared_ptr<const Handler> handler_;
  Writer writer_{&this->context_};
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_UNARY_CALL_H_
