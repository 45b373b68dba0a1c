#include "tests/bench/bare_servers.h"

#include <grpcpp/grpcpp.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"

namespace lazynorm {
namespace {

void Answer(const v1::PredictRequest& request, v1::PredictResponse* response) {
  v1::Matrix& predictions = *response->mutable_predictions();
  predictions.set_rows(request.features().rows());
  predictions.set_columns(1);
  predictions.mutable_values()->Resize(request.features().rows(), 0.5F);
  response->set_step(1);
}

// As lazynormd does, for a fair comparison.
void SetUpAsProduct() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

class CallbackService final : public v1::PredictionService::CallbackService {
  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context,
                                    const v1::PredictRequest* request,
                                    v1::PredictResponse* response) override {
    Answer(*request, response);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

using AsyncService = v1::PredictionService::WithAsyncMethod_Predict<v1::PredictionService::Service>;

// One call: posted, answered, gone.
class AsyncCall {
 public:
  AsyncCall(AsyncService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    service_->RequestPredict(&context_, &request_, &writer_, queue_, queue_, this);
  }

  void Proceed() {
    if (answered_) {
      delete this;
      return;
    }
    new AsyncCall(service_, queue_);
    Answer(request_, &response_);
    answered_ = true;
    writer_.Finish(response_, grpc::Status::OK, this);
  }

 private:
  AsyncService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::ServerContext context_;
  v1::PredictRequest request_;
  v1::PredictResponse response_;
  grpc::ServerAsyncResponseWriter<v1::PredictResponse> writer_{&context_};
  bool answered_ = false;
};

std::unique_ptr<grpc::Server> StartOnFreePort(grpc::ServerBuilder& builder,
                                              grpc::Service* service) {
  SetUpAsProduct();
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  fprintf(stderr, "serving ports=%d\n", port);
  return server;
}

}  // namespace

void ServeBareCallback() {
  CallbackService service;
  grpc::ServerBuilder builder;
  const std::unique_ptr<grpc::Server> server = StartOnFreePort(builder, &service);
  server->Wait();
}

void ServeBareAsync() {
  constexpr int kPosted = 16;
  AsyncService service;
  grpc::ServerBuilder builder;
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = StartOnFreePort(builder, &service);
  for (int i = 0; i < kPosted; ++i) new AsyncCall(&service, queue.get());
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<AsyncCall*>(tag)->Proceed();
}

}  // namespace lazynorm
