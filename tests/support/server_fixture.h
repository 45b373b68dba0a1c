#ifndef LAZYNORM_TESTS_SUPPORT_SERVER_FIXTURE_H_
#define LAZYNORM_TESTS_SUPPORT_SERVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "lazynorm/v1/model_service.grpc.pb.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "server/options.h"
#include "server/server.h"
#include "tests/support/text_proto.h"

namespace lazynorm {

// All that a caller can know of an error: the status and what its details say.
struct ErrorDetails {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string reason, domain;  // ErrorInfo
  std::string field;           // BadRequest, the first violation
  absl::Duration retry_after;  // RetryInfo; zero if there is none
  std::string message;

  // By code, reason and field.
  bool operator==(const ErrorDetails& other) const {
    return code == other.code && reason == other.reason && field == other.field;
  }
};
std::ostream& operator<<(std::ostream& out, const ErrorDetails& error);

ErrorDetails DetailsOf(const grpc::Status& status);

// What is expected of a refused call.
ErrorDetails Error(grpc::StatusCode code, const std::string& reason, const std::string& field = "");
// The same with INVALID_ARGUMENT.
ErrorDetails Invalid(const std::string& reason, const std::string& field);

// How long a test waits for what is to come, on a machine that stands still for seconds now and
// then. No good test needs it.
constexpr absl::Duration kPatience = absl::Seconds(120);

// What a unary call gave.
template <class Response>
struct Answer {
  grpc::Status status;
  Response response;

  bool ok() const { return status.ok(); }
  ErrorDetails error() const { return DetailsOf(status); }
  const Response* operator->() const { return &response; }
};

// A connection of its own to a server, with a stub for each service. Thread-safe.
class Connection {
 public:
  explicit Connection(int port);

  // One call, with a deadline that no good call comes near.
  template <class Stub, class Request, class Response>
  static Answer<Response> Call(Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
                               const Request& request, absl::Duration timeout = kPatience) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    Answer<Response> answer;
    answer.status = (stub.*method)(&context, request, &answer.response);
    return answer;
  }

  Answer<v1::Model> Create(const v1::CreateModelRequest& request);
  // `spec` in protobuf's text form.
  Answer<v1::Model> Create(const std::string& id, const std::string& spec);
  Answer<v1::Model> Get(const std::string& id);
  Answer<google::protobuf::Empty> Delete(const std::string& id);
  Answer<v1::Model> Freeze(const std::string& id);
  Answer<v1::Model> Unfreeze(const std::string& id);
  Answer<v1::GetModelStateResponse> State(const std::string& id);
  Answer<v1::TrainResponse> Train(const v1::TrainRequest& request);
  Answer<v1::PredictResponse> Predict(const v1::PredictRequest& request,
                                      absl::Duration timeout = kPatience);
  Answer<v1::EvaluateResponse> Evaluate(const v1::EvaluateRequest& request);
  // The health service's word on a name; NOT_FOUND gives SERVICE_UNKNOWN.
  grpc::health::v1::HealthCheckResponse::ServingStatus Health(const std::string& name);

  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::ModelService::Stub> models;
  const std::unique_ptr<v1::TrainingService::Stub> training;
  const std::unique_ptr<v1::PredictionService::Stub> prediction;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health;
};

// A whole server in this process, on free ports of the loopback, and a connection to it.
class ServerFixture : public testing::Test {
 protected:
  // Two threads of each kind, whatever the machine.
  static Options TestOptions();

  void SetUp() override { Start(TestOptions()); }
  // Replaces the server.
  void Start(const Options& options);
  int port() const { return server_->ports()[0]; }
  Connection& client() { return *client_; }

  // The answer to GET on the metrics port, head and body.
  std::string HttpGet(const std::string& path) const;
  // The same of a POST.
  std::string HttpPost(const std::string& path, const std::string& body) const;
  // The value of one series as it stands in the next scrape, "" if it is not there.
  std::string Metric(const std::string& series) const;

  std::unique_ptr<Server> server_;
  std::unique_ptr<Connection> client_;

 private:
  std::string Http(const std::string& request) const;
};

// Numbers of a standard normal distribution, the same everywhere.
v1::Matrix RandomMatrix(int rows, int columns, uint64_t seed);
v1::Matrix MakeMatrix(int rows, int columns, const std::vector<float>& values);
// Random features, and one target a row that is a noisy sum of them.
v1::TrainRequest RandomStep(const std::string& model, int rows, int columns, uint64_t seed);
v1::PredictRequest RandomQuery(const std::string& model, int rows, int columns, uint64_t seed);
v1::EvaluateRequest AsEvaluation(const v1::TrainRequest& step);

// Waits until `condition` holds, at most kPatience.
bool Soon(const std::function<bool()>& condition);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_SERVER_FIXTURE_H_
