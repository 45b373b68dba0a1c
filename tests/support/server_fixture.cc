#include "tests/support/server_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/support/channel.h"

namespace lazynorm {
namespace {

template <class Request>
Request Naming(const std::string& model) {
  Request request;
  request.set_model(model);
  return request;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const ErrorDetails& error) {
  return out << "code " << error.code << " reason \"" << error.reason << "\" field \""
             << error.field << "\": " << error.message;
}

ErrorDetails DetailsOf(const grpc::Status& status) {
  ErrorDetails error{.code = status.error_code(), .message = status.error_message()};
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::RetryInfo retry;
    if (any.UnpackTo(&info)) {
      error.reason = info.reason();
      error.domain = info.domain();
    } else if (any.UnpackTo(&bad) && bad.field_violations_size() > 0) {
      error.field = bad.field_violations(0).field();
    } else if (any.UnpackTo(&retry)) {
      error.retry_after = absl::Seconds(retry.retry_delay().seconds()) +
                          absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  return error;
}

ErrorDetails Error(grpc::StatusCode code, const std::string& reason, const std::string& field) {
  return {.code = code, .reason = reason, .field = field};
}

ErrorDetails Invalid(const std::string& reason, const std::string& field) {
  return Error(grpc::StatusCode::INVALID_ARGUMENT, reason, field);
}

Connection::Connection(int port)
    : channel(ConnectedChannel(absl::StrCat("127.0.0.1:", port))),
      models(v1::ModelService::NewStub(channel)),
      training(v1::TrainingService::NewStub(channel)),
      prediction(v1::PredictionService::NewStub(channel)),
      health(grpc::health::v1::Health::NewStub(channel)) {}

Answer<v1::Model> Connection::Create(const v1::CreateModelRequest& request) {
  return Call(*models, &v1::ModelService::Stub::CreateModel, request);
}

Answer<v1::Model> Connection::Create(const std::string& id, const std::string& spec) {
  v1::CreateModelRequest request;
  request.set_model_id(id);
  *request.mutable_spec() = Parse<v1::ModelSpec>(spec);
  return Create(request);
}

Answer<v1::Model> Connection::Get(const std::string& id) {
  return Call(*models, &v1::ModelService::Stub::GetModel, Naming<v1::GetModelRequest>(id));
}

Answer<google::protobuf::Empty> Connection::Delete(const std::string& id) {
  return Call(*models, &v1::ModelService::Stub::DeleteModel, Naming<v1::DeleteModelRequest>(id));
}

Answer<v1::Model> Connection::Freeze(const std::string& id) {
  return Call(*models, &v1::ModelService::Stub::FreezeStatistics,
              Naming<v1::FreezeStatisticsRequest>(id));
}

Answer<v1::Model> Connection::Unfreeze(const std::string& id) {
  return Call(*models, &v1::ModelService::Stub::UnfreezeStatistics,
              Naming<v1::UnfreezeStatisticsRequest>(id));
}

Answer<v1::GetModelStateResponse> Connection::State(const std::string& id) {
  return Call(*models, &v1::ModelService::Stub::GetModelState,
              Naming<v1::GetModelStateRequest>(id));
}

Answer<v1::TrainResponse> Connection::Train(const v1::TrainRequest& request) {
  return Call(*training, &v1::TrainingService::Stub::Train, request);
}

Answer<v1::PredictResponse> Connection::Predict(const v1::PredictRequest& request,
                                                absl::Duration timeout) {
  return Call(*prediction, &v1::PredictionService::Stub::Predict, request, timeout);
}

Answer<v1::EvaluateResponse> Connection::Evaluate(const v1::EvaluateRequest& request) {
  return Call(*prediction, &v1::PredictionService::Stub::Evaluate, request);
}

grpc::health::v1::HealthCheckResponse::ServingStatus Connection::Health(const std::string& name) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(name);
  const auto answer = Call(*health, &grpc::health::v1::Health::Stub::Check, request);
  if (answer.ok()) return answer->status();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::NOT_FOUND);
  return grpc::health::v1::HealthCheckResponse::SERVICE_UNKNOWN;
}

Options ServerFixture::TestOptions() {
  return {.listen = {"127.0.0.1:0"},
          .metrics_listen = "127.0.0.1:0",
          .store = "memory:",
          .drain = absl::ZeroDuration(),
          .compute_threads = 2};
}

void ServerFixture::Start(const Options& options) {
  spdlog::set_level(spdlog::level::warn);
  client_.reset();
  server_.reset();
  auto started = Server::Start(options);
  ASSERT_TRUE(started.ok()) << started.status();
  server_ = *std::move(started);
  client_ = std::make_unique<Connection>(port());
}

std::string ServerFixture::HttpGet(const std::string& path) const {
  return Http(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
}

std::string ServerFixture::HttpPost(const std::string& path, const std::string& body) const {
  return Http(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
                           body.size(), "\r\n\r\n", body));
}

std::string ServerFixture::Http(const std::string& request) const {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(server_->metrics_port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  }
  close(fd);
  return answer;
}

std::string ServerFixture::Metric(const std::string& series) const {
  const std::string text = HttpGet("/metrics");
  const size_t at = text.find(absl::StrCat("\n", series, " "));
  if (at == std::string::npos) return "";
  const size_t begin = at + series.size() + 2;
  return text.substr(begin, text.find('\n', begin) - begin);
}

v1::Matrix MakeMatrix(int rows, int columns, const std::vector<float>& values) {
  v1::Matrix matrix;
  matrix.set_rows(rows);
  matrix.set_columns(columns);
  matrix.mutable_values()->Assign(values.begin(), values.end());
  return matrix;
}

v1::Matrix RandomMatrix(int rows, int columns, uint64_t seed) {
  std::mt19937_64 bits(seed);
  const auto uniform = [&] { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; };
  std::vector<float> values(static_cast<size_t>(rows) * columns);
  for (float& v : values) {  // Box & Muller 1958
    const double radius = std::sqrt(-2 * std::log(uniform()));
    v = static_cast<float>(radius * std::cos(2 * M_PI * uniform()));
  }
  return MakeMatrix(rows, columns, values);
}

v1::TrainRequest RandomStep(const std::string& model, int rows, int columns, uint64_t seed) {
  v1::TrainRequest request;
  request.set_model(model);
  *request.mutable_features() = RandomMatrix(rows, columns, seed);
  *request.mutable_targets() = RandomMatrix(rows, 1, seed + 1'000'000);
  for (int i = 0; i < rows; ++i) {
    float sum = request.targets().values(i) * 0.1f;
    for (int c = 0; c < columns; ++c) sum += request.features().values(i * columns + c);
    request.mutable_targets()->set_values(i, sum);
  }
  return request;
}

v1::PredictRequest RandomQuery(const std::string& model, int rows, int columns, uint64_t seed) {
  v1::PredictRequest request;
  request.set_model(model);
  *request.mutable_features() = RandomMatrix(rows, columns, seed);
  return request;
}

v1::EvaluateRequest AsEvaluation(const v1::TrainRequest& step) {
  v1::EvaluateRequest request;
  request.set_model(step.model());
  *request.mutable_features() = step.features();
  *request.mutable_targets() = step.targets();
  *request.mutable_labels() = step.labels();
  *request.mutable_sample_weights() = step.sample_weights();
  return request;
}

bool Soon(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace lazynorm
