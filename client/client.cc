#include "client/client.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/pipeline.h"
#include "client/retry.h"
#include "client/security.h"
#include "client/status.h"
#include "google/protobuf/empty.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "lazynorm/v1/model_service.grpc.pb.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"

namespace lazynorm {

struct Client::Stubs {
  explicit Stubs(const std::shared_ptr<grpc::Channel>& channel)
      : models(v1::ModelService::NewStub(channel)),
        training(v1::TrainingService::NewStub(channel)),
        prediction(v1::PredictionService::NewStub(channel)),
        health(grpc::health::v1::Health::NewStub(channel)) {}

  const std::unique_ptr<v1::ModelService::Stub> models;
  const std::unique_ptr<v1::TrainingService::Stub> training;
  const std::unique_ptr<v1::PredictionService::Stub> prediction;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health;
};

namespace {

template <typename Stub, typename Request, typename Response>
using UnaryMethod = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> CallOnce(const ClientOptions& options, Stub& stub,
                                  UnaryMethod<Stub, Request, Response> method,
                                  const Request& request, absl::Time deadline) {
  grpc::ClientContext context;
  Authorize(options, &context);
  context.set_deadline(absl::ToChronoTime(deadline));
  Response response;
  const absl::Status status = FromGrpc((stub.*method)(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(const ClientOptions& options, Stub& stub,
                              UnaryMethod<Stub, Request, Response> method, const Request& request) {
  return CallOnce(options, stub, method, request, absl::Now() + options.timeout);
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> CallWithRetry(const ClientOptions& options, Stub& stub,
                                       UnaryMethod<Stub, Request, Response> method,
                                       const Request& request) {
  const absl::Time deadline = absl::Now() + options.timeout;
  Backoff backoff(options, deadline);
  for (;;) {
    absl::StatusOr<Response> response = CallOnce(options, stub, method, request, deadline);
    if (response.ok() || !backoff.WaitAfter(response.status())) return response;
  }
}

template <typename Request>
Request Named(absl::string_view model) {
  Request request;
  request.set_model(std::string(model));
  return request;
}

std::shared_ptr<grpc::Channel> MakeChannel(
    const ClientOptions& options, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  if (options.keepalive < absl::InfiniteDuration()) {
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                     static_cast<int>(absl::ToInt64Milliseconds(options.keepalive)));
  }
  // As soon as a server is back, a retry should find it.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options.longest_backoff)));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options.first_backoff)));
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

// Gives each request a request_id before it goes down the stream.
class IdentifiedTrainStream final : public TrainStream {
 public:
  explicit IdentifiedTrainStream(std::unique_ptr<TrainStream> stream)
      : stream_(std::move(stream)) {}
  absl::Status Write(v1::TrainRequest request) override {
    if (request.request_id().empty()) request.set_request_id(NewRequestId());
    return stream_->Write(std::move(request));
  }
  absl::Status Finish() override { return stream_->Finish(); }

 private:
  const std::unique_ptr<TrainStream> stream_;
};

}  // namespace

absl::StatusOr<Client> Client::Connect(ClientOptions options) {
  if (options.target.empty()) return absl::InvalidArgumentError("target: expected host:port");
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout: expected more than 0, got ", absl::FormatDuration(options.timeout)));
  }
  const auto credentials = ChannelCredentials(options);
  if (!credentials.ok()) return credentials.status();
  auto stubs = std::make_shared<const Stubs>(MakeChannel(options, *credentials));
  return Client(std::move(options), std::move(stubs));
}

Client::Client(ClientOptions options, std::shared_ptr<const Stubs> stubs)
    : options_(std::move(options)), stubs_(std::move(stubs)) {}

Client Client::WithTimeout(absl::Duration timeout) const {
  Client other = *this;
  other.options_.timeout = timeout;
  return other;
}

absl::StatusOr<v1::Model> Client::CreateModel(const v1::CreateModelRequest& request) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::CreateModel, request);
}

absl::StatusOr<v1::Model> Client::GetModel(absl::string_view model) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::GetModel,
              Named<v1::GetModelRequest>(model));
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels(
    const v1::ListModelsRequest& request) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::ListModels, request);
}

absl::StatusOr<std::vector<v1::Model>> Client::ListAllModels() const {
  std::vector<v1::Model> models;
  v1::ListModelsRequest request;
  do {
    absl::StatusOr<v1::ListModelsResponse> page = ListModels(request);
    if (!page.ok()) return page.status();
    for (v1::Model& model : *page->mutable_models()) models.push_back(std::move(model));
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return models;
}

absl::Status Client::DeleteModel(absl::string_view model) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::DeleteModel,
              Named<v1::DeleteModelRequest>(model))
      .status();
}

absl::StatusOr<v1::Model> Client::UpdateModel(const v1::UpdateModelRequest& request) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::UpdateModel, request);
}

absl::StatusOr<v1::GetModelStateResponse> Client::GetModelState(absl::string_view model) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::GetModelState,
              Named<v1::GetModelStateRequest>(model));
}

absl::StatusOr<v1::Model> Client::FreezeStatistics(absl::string_view model) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::FreezeStatistics,
              Named<v1::FreezeStatisticsRequest>(model));
}

absl::StatusOr<v1::Model> Client::UnfreezeStatistics(absl::string_view model) const {
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::UnfreezeStatistics,
              Named<v1::UnfreezeStatisticsRequest>(model));
}

absl::StatusOr<v1::Model> Client::CopyModel(absl::string_view model,
                                            absl::string_view model_id) const {
  auto request = Named<v1::CopyModelRequest>(model);
  request.set_model_id(std::string(model_id));
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::CopyModel, request);
}

absl::StatusOr<v1::Checkpoint> Client::CreateCheckpoint(absl::string_view model,
                                                        absl::string_view label) const {
  auto request = Named<v1::CreateCheckpointRequest>(model);
  request.set_label(std::string(label));
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::CreateCheckpoint, request);
}

absl::StatusOr<std::vector<v1::Checkpoint>> Client::ListCheckpoints(absl::string_view model) const {
  const auto response = Call(options_, *stubs_->models, &v1::ModelService::Stub::ListCheckpoints,
                             Named<v1::ListCheckpointsRequest>(model));
  if (!response.ok()) return response.status();
  return std::vector<v1::Checkpoint>(response->checkpoints().begin(),
                                     response->checkpoints().end());
}

absl::StatusOr<v1::Model> Client::RestoreCheckpoint(absl::string_view model,
                                                    absl::string_view checkpoint_id) const {
  auto request = Named<v1::RestoreCheckpointRequest>(model);
  request.set_checkpoint_id(std::string(checkpoint_id));
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::RestoreCheckpoint, request);
}

absl::StatusOr<v1::Model> Client::RestoreStep(absl::string_view model, int64_t step) const {
  auto request = Named<v1::RestoreCheckpointRequest>(model);
  request.set_step(step);
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::RestoreCheckpoint, request);
}

absl::Status Client::DeleteCheckpoint(absl::string_view model,
                                      absl::string_view checkpoint_id) const {
  auto request = Named<v1::DeleteCheckpointRequest>(model);
  request.set_checkpoint_id(std::string(checkpoint_id));
  return Call(options_, *stubs_->models, &v1::ModelService::Stub::DeleteCheckpoint, request)
      .status();
}

absl::Status Client::Backup(
    const std::function<bool(absl::string_view data, int64_t size)>& on_piece) const {
  grpc::ClientContext context;
  Authorize(options_, &context);
  const auto reader = stubs_->models->Backup(&context, v1::BackupRequest());
  v1::BackupResponse response;
  while (reader->Read(&response)) {
    if (on_piece(response.data(), response.size_bytes())) continue;
    context.TryCancel();
    reader->Finish();
    return absl::CancelledError("the backup was broken off");
  }
  return FromGrpc(reader->Finish());
}

absl::Status Client::ExportModel(
    absl::string_view model, v1::ExportFormat format,
    const std::function<bool(absl::string_view data)>& on_piece) const {
  grpc::ClientContext context;
  Authorize(options_, &context);
  v1::ExportModelRequest request;
  request.set_model(std::string(model));
  request.set_format(format);
  const auto reader = stubs_->models->ExportModel(&context, request);
  v1::ExportModelResponse response;
  while (reader->Read(&response)) {
    if (on_piece(response.data())) continue;
    context.TryCancel();
    reader->Finish();
    return absl::CancelledError("the export was broken off");
  }
  return FromGrpc(reader->Finish());
}

absl::StatusOr<v1::Model> Client::ImportModel(
    v1::ImportModelRequest first, const std::function<absl::StatusOr<std::string>()>& next) const {
  grpc::ClientContext context;
  Authorize(options_, &context);
  v1::Model model;
  const auto writer = stubs_->models->ImportModel(&context, &model);
  v1::ImportModelRequest message = std::move(first);
  bool open = writer->Write(message);
  for (message.Clear(); open; open = writer->Write(message)) {
    absl::StatusOr<std::string> data = next();
    if (!data.ok()) {
      context.TryCancel();
      writer->Finish();
      return data.status();
    }
    if (data->empty()) break;
    message.set_data(*std::move(data));
  }
  if (open) writer->WritesDone();
  const absl::Status status = FromGrpc(writer->Finish());
  if (!status.ok()) return status;
  return model;
}

absl::Status Client::WatchModel(
    const v1::WatchModelRequest& request,
    const std::function<bool(const v1::ModelStatus&)>& on_status) const {
  grpc::ClientContext context;
  Authorize(options_, &context);
  const auto reader = stubs_->models->WatchModel(&context, request);
  v1::ModelStatus status;
  while (reader->Read(&status)) {
    if (on_status(status)) continue;
    context.TryCancel();
    reader->Finish();
    return absl::OkStatus();
  }
  return FromGrpc(reader->Finish());
}

absl::StatusOr<v1::TrainResponse> Client::Train(v1::TrainRequest request) const {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return CallWithRetry(options_, *stubs_->training, &v1::TrainingService::Stub::Train, request);
}

std::unique_ptr<TrainStream> Client::OpenTrainStream(int window,
                                                     TrainStream::OnAnswer on_answer) const {
  auto start = [options = options_, stubs = stubs_](grpc::ClientContext* context,
                                                    grpc::CompletionQueue* queue) {
    Authorize(options, context);
    return stubs->training->PrepareAsyncTrainStream(context, queue);
  };
  return std::make_unique<IdentifiedTrainStream>(
      std::make_unique<Pipeline<v1::TrainRequest, v1::TrainResponse>>(
          options_, std::move(start), window, std::move(on_answer)));
}

absl::StatusOr<v1::PredictResponse> Client::Predict(const v1::PredictRequest& request) const {
  return CallWithRetry(options_, *stubs_->prediction, &v1::PredictionService::Stub::Predict,
                       request);
}

std::unique_ptr<PredictStream> Client::OpenPredictStream(int window,
                                                         PredictStream::OnAnswer on_answer) const {
  auto start = [options = options_, stubs = stubs_](grpc::ClientContext* context,
                                                    grpc::CompletionQueue* queue) {
    Authorize(options, context);
    return stubs->prediction->PrepareAsyncPredictStream(context, queue);
  };
  return std::make_unique<Pipeline<v1::PredictRequest, v1::PredictResponse>>(
      options_, std::move(start), window, std::move(on_answer));
}

absl::StatusOr<v1::EvaluateResponse> Client::Evaluate(const v1::EvaluateRequest& request) const {
  return CallWithRetry(options_, *stubs_->prediction, &v1::PredictionService::Stub::Evaluate,
                       request);
}

absl::StatusOr<v1::EvaluateResponse> Client::EvaluateStream(const NextEvaluateRequest& next) const {
  grpc::ClientContext context;
  Authorize(options_, &context);
  v1::EvaluateResponse response;
  const auto writer = stubs_->prediction->EvaluateStream(&context, &response);
  for (;;) {
    v1::EvaluateRequest request;
    const absl::StatusOr<bool> more = next(&request);
    if (!more.ok()) {
      context.TryCancel();
      writer->Finish();
      return more.status();
    }
    if (!*more || !writer->Write(request)) break;
  }
  writer->WritesDone();
  const absl::Status status = FromGrpc(writer->Finish());
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<grpc::health::v1::HealthCheckResponse> Client::Check(
    absl::string_view service) const {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(std::string(service));
  return Call(options_, *stubs_->health, &grpc::health::v1::Health::Stub::Check, request);
}

}  // namespace lazynorm
