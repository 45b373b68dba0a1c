#ifndef LAZYNORM_TESTS_CLIENT_FAKE_SERVER_H_
#define LAZYNORM_TESTS_CLIENT_FAKE_SERVER_H_

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "lazynorm/v1/model_service.grpc.pb.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "tests/support/kept_port.h"

namespace lazynorm {

// An error as lazynormd sends it. `retry_ms` >= 0 adds a RetryInfo.
inline grpc::Status RichError(grpc::StatusCode code, const std::string& message,
                              const std::string& reason, int retry_ms = -1) {
  google::rpc::Status rich;
  rich.set_code(code);
  rich.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("lazynorm");
  rich.add_details()->PackFrom(info);
  if (retry_ms >= 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(retry_ms * 1000000);
    rich.add_details()->PackFrom(retry);
  }
  return grpc::Status(code, message, rich.SerializeAsString());
}

// What a fake server has and has seen. Each test looks at it and sets it up under `mutex`, or
// before and after its calls.
struct FakeState {
  std::mutex mutex;
  std::map<std::string, v1::Model> models;
  std::vector<v1::TrainRequest> trained;    // in order, each request_id once
  std::vector<std::string> train_attempts;  // request_ids
  std::vector<v1::PredictRequest> predicted;
  std::vector<v1::EvaluateRequest> evaluated;
  v1::UpdateModelRequest updated;
  // Statuses for the next Train attempts, used up one by one.
  std::vector<grpc::Status> train_failures;
  // On a TrainStream, after this many answers the stream breaks; used up.
  std::vector<int> stream_breaks;
  grpc::health::v1::HealthCheckResponse::ServingStatus health =
      grpc::health::v1::HealthCheckResponse::SERVING;
};

inline grpc::Status NoModel(const std::string& model) {
  return RichError(grpc::StatusCode::NOT_FOUND, absl::StrCat("model: no model \"", model, "\""),
                   "MODEL_NOT_FOUND");
}

// Predicts the sum of a row's features; its loss is the mean squared error of that.
class FakeModels final : public v1::ModelService::Service {
 public:
  explicit FakeModels(FakeState* state) : state_(*state) {}

  grpc::Status CreateModel(grpc::ServerContext*, const v1::CreateModelRequest* request,
                           v1::Model* model) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    if (state_.models.count(request->model_id()) > 0) {
      return RichError(grpc::StatusCode::ALREADY_EXISTS, "model_id: taken", "MODEL_EXISTS");
    }
    model->set_model_id(request->model_id());
    *model->mutable_spec() = request->spec();
    model->set_state(v1::STATE_LAZY);
    model->set_out_features(std::max(request->spec().mlp().out_features(), 1));
    state_.models[request->model_id()] = *model;
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::Model* model) override {
    return WithModel(request->model(), [&](v1::Model& found) { *model = found; });
  }

  // Pages of one model.
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    auto next = state_.models.upper_bound(request->page_token());
    if (next == state_.models.end()) return grpc::Status::OK;
    *response->add_models() = next->second;
    if (std::next(next) != state_.models.end()) response->set_next_page_token(next->first);
    return grpc::Status::OK;
  }

  grpc::Status DeleteModel(grpc::ServerContext*, const v1::DeleteModelRequest* request,
                           google::protobuf::Empty*) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    return state_.models.erase(request->model()) > 0 ? grpc::Status::OK : NoModel(request->model());
  }

  grpc::Status UpdateModel(grpc::ServerContext*, const v1::UpdateModelRequest* request,
                           v1::Model* model) override {
    return WithModel(request->model(), [&](v1::Model& found) {
      state_.updated = *request;
      *model = found;
    });
  }

  grpc::Status GetModelState(grpc::ServerContext*, const v1::GetModelStateRequest* request,
                             v1::GetModelStateResponse* response) override {
    return WithModel(request->model(), [&](v1::Model& found) {
      response->set_step(found.step());
      v1::NamedTensor* weight = response->add_tensors();
      weight->set_name("0.weight");
      weight->add_shape(1);
      weight->add_shape(2);
      weight->add_values(-1);
      weight->add_values(4);
      v1::NamedTensor* count = response->add_tensors();
      count->set_name("1.num_batches_tracked");
      count->add_int64_values(7);
    });
  }

  grpc::Status FreezeStatistics(grpc::ServerContext*, const v1::FreezeStatisticsRequest* request,
                                v1::Model* model) override {
    return SetFrozen(request->model(), true, model);
  }

  grpc::Status UnfreezeStatistics(grpc::ServerContext*,
                                  const v1::UnfreezeStatisticsRequest* request,
                                  v1::Model* model) override {
    return SetFrozen(request->model(), false, model);
  }

  grpc::Status WatchModel(grpc::ServerContext* context, const v1::WatchModelRequest* request,
                          grpc::ServerWriter<v1::ModelStatus>* writer) override {
    v1::ModelStatus status;
    status.set_model(request->model());
    status.set_prequential_loss(NAN);
    const grpc::Status found = WithModel(request->model(), [](v1::Model&) {});
    for (int step = 0; found.ok() && step < 1000000 && !context->IsCancelled(); ++step) {
      status.set_step(step);
      if (!writer->Write(status)) break;
    }
    return found;
  }

 private:
  grpc::Status WithModel(const std::string& model, const std::function<void(v1::Model&)>& use) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    const auto found = state_.models.find(model);
    if (found == state_.models.end()) return NoModel(model);
    use(found->second);
    return grpc::Status::OK;
  }

  grpc::Status SetFrozen(const std::string& model, bool frozen, v1::Model* answer) {
    return WithModel(model, [&](v1::Model& found) {
      found.set_statistics_frozen(frozen);
      *answer = found;
    });
  }

  FakeState& state_;
};

class FakeTraining final : public v1::TrainingService::Service {
 public:
  explicit FakeTraining(FakeState* state) : state_(*state) {}

  grpc::Status Train(grpc::ServerContext*, const v1::TrainRequest* request,
                     v1::TrainResponse* response) override {
    return Learn(*request, response);
  }

  grpc::Status TrainStream(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::TrainResponse, v1::TrainRequest>* stream) override {
    const int answers = NextBreak();
    v1::TrainRequest request;
    for (int answered = 0; stream->Read(&request); ++answered) {
      v1::TrainResponse response;
      if (grpc::Status status = Learn(request, &response); !status.ok()) return status;
      // A request that is learned from and not answered, as when a server dies.
      if (answered == answers) return {grpc::StatusCode::UNAVAILABLE, "Socket closed"};
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  int NextBreak() {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    if (state_.stream_breaks.empty()) return -1;
    const int answers = state_.stream_breaks.front();
    state_.stream_breaks.erase(state_.stream_breaks.begin());
    return answers;
  }

  // Trains each request_id once.
  grpc::Status Learn(const v1::TrainRequest& request, v1::TrainResponse* response) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.train_attempts.push_back(request.request_id());
    if (!state_.train_failures.empty()) {
      const grpc::Status failure = state_.train_failures.front();
      state_.train_failures.erase(state_.train_failures.begin());
      if (!failure.ok()) return failure;
    }
    if (state_.models.count(request.model()) == 0) return NoModel(request.model());
    for (size_t i = 0; i < state_.trained.size(); ++i) {
      if (state_.trained[i].request_id() != request.request_id()) continue;
      response->set_replayed(true);
      response->set_step(static_cast<int64_t>(i) + 1);
      response->set_prequential_loss(LossOf(request));
      return grpc::Status::OK;
    }
    state_.trained.push_back(request);
    response->set_step(static_cast<int64_t>(state_.trained.size()));
    response->set_prequential_loss(LossOf(request));
    return grpc::Status::OK;
  }

  static double LossOf(const v1::TrainRequest& request) {
    double sum = 0;
    const int rows = request.features().rows(), columns = request.features().columns();
    for (int i = 0; i < rows && request.targets().rows() == rows; ++i) {
      double prediction = 0;
      for (int j = 0; j < columns; ++j) prediction += request.features().values(i * columns + j);
      sum += std::pow(prediction - request.targets().values(i), 2);
    }
    return sum / rows;
  }

  FakeState& state_;
};

class FakePrediction final : public v1::PredictionService::Service {
 public:
  explicit FakePrediction(FakeState* state) : state_(*state) {}

  grpc::Status Predict(grpc::ServerContext*, const v1::PredictRequest* request,
                       v1::PredictResponse* response) override {
    return Answer(*request, response);
  }

  grpc::Status PredictStream(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::PredictResponse, v1::PredictRequest>* stream) override {
    v1::PredictRequest request;
    while (stream->Read(&request)) {
      v1::PredictResponse response;
      if (grpc::Status status = Answer(request, &response); !status.ok()) return status;
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status EvaluateStream(grpc::ServerContext*, grpc::ServerReader<v1::EvaluateRequest>* reader,
                              v1::EvaluateResponse* response) override {
    v1::EvaluateRequest request;
    while (reader->Read(&request)) {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      response->set_rows(response->rows() + request.features().rows());
      state_.evaluated.push_back(request);
    }
    response->set_loss(0.25);
    response->set_root_mean_squared_error(0.5);
    return grpc::Status::OK;
  }

 private:
  // Output k of a row is the sum of its features, plus k.
  grpc::Status Answer(const v1::PredictRequest& request, v1::PredictResponse* response) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    const auto found = state_.models.find(request.model());
    if (found == state_.models.end()) return NoModel(request.model());
    const v1::Matrix& x = request.features();
    const int expected = found->second.in_features();
    if (expected > 0 && x.columns() != expected) {
      return RichError(grpc::StatusCode::INVALID_ARGUMENT,
                       absl::StrCat("features: expected ", expected, " columns, got ", x.columns()),
                       "WIDTH_MISMATCH");
    }
    state_.predicted.push_back(request);
    v1::Matrix* y = response->mutable_predictions();
    y->set_rows(x.rows());
    y->set_columns(std::max(found->second.out_features(), 1));
    for (int i = 0; i < x.rows(); ++i) {
      float sum = 0;
      for (int j = 0; j < x.columns(); ++j) sum += x.values(i * x.columns() + j);
      for (int k = 0; k < y->columns(); ++k) y->add_values(sum + static_cast<float>(k));
    }
    return grpc::Status::OK;
  }

  FakeState& state_;
};

class FakeHealth final : public grpc::health::v1::Health::Service {
 public:
  explicit FakeHealth(FakeState* state) : state_(*state) {}

  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override {
    if (!request->service().empty() && request->service() != "readiness") {
      return {grpc::StatusCode::NOT_FOUND, "unknown service"};
    }
    const std::lock_guard<std::mutex> lock(state_.mutex);
    response->set_status(state_.health);
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

// A server on a free port of the loopback, which speaks the API and learns nothing: its models
// predict the sum of their features. Thread-compatible.
class FakeServer {
 public:
  FakeServer() { Start(); }
  ~FakeServer() { Stop(); }

  // Begins to serve, always at the same address.
  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    builder.RegisterService(&models_);
    builder.RegisterService(&training_);
    builder.RegisterService(&prediction_);
    builder.RegisterService(&health_);
    builder.SetMaxReceiveMessageSize(-1);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr) << address();
  }

  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  const std::string& address() const { return port_.address(); }
  FakeState& state() { return state_; }

  // Adds a model without going through CreateModel.
  v1::Model& AddModel(const std::string& id, const std::vector<std::string>& features = {}) {
    v1::Model& model = state_.models[id];
    model.set_model_id(id);
    model.set_out_features(1);
    for (const std::string& name : features) model.mutable_spec()->add_feature_names(name);
    return model;
  }

 private:
  FakeState state_;
  FakeModels models_{&state_};
  FakeTraining training_{&state_};
  FakePrediction prediction_{&state_};
  FakeHealth health_{&state_};
  const KeptPort port_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_CLIENT_FAKE_SERVER_H_
