#ifndef LAZYNORM_TESTS_SERVER_RPC_TEST_SERVER_H_
#define LAZYNORM_TESTS_SERVER_RPC_TEST_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "server/base/mutex.h"
#include "server/metrics/metrics.h"
#include "server/rpc/transport.h"
#include "tests/support/channel.h"

namespace lazynorm {

using HealthProto = grpc::health::v1::Health;
using HealthRequest = grpc::health::v1::HealthCheckRequest;
using HealthResponse = grpc::health::v1::HealthCheckResponse;

// A transport on a free port of the loopback with a handler for every kind of call. The handlers
// may be replaced before Start.
struct TestServer {
  using Predict = UnaryCall<v1::PredictRequest, v1::PredictResponse>;
  using PredictStream = BidiHandler<v1::PredictRequest, v1::PredictResponse>;
  using EvaluateStream = ClientStreamHandler<v1::EvaluateRequest, v1::EvaluateResponse>;
  using Watch = ServerStream<HealthRequest, HealthResponse>;

  explicit TestServer(TransportOptions options = {}) {
    options.listen = {"127.0.0.1:0"};
    transport = std::make_unique<Transport>(std::move(options), metrics);
  }
  ~TestServer() { transport->Shutdown(absl::Now() + absl::Seconds(1)); }

  // Adds the handlers, starts, and serves.
  void Start(MethodOptions stream_options = {}) {
    using Service = v1::PredictionService::AsyncService;
    constexpr char kName[] = "lazynorm.v1.PredictionService";
    Service* service = transport->AddService(std::make_unique<Service>());
    transport->AddUnary(service, &Service::RequestPredict, kName, "Predict", predict);
    transport->AddUnary(service, &Service::RequestEvaluate, kName, "Evaluate",
                        [](const v1::EvaluateRequest& request, v1::EvaluateResponse* response) {
                          response->set_rows(request.features().rows());
                          return absl::OkStatus();
                        });
    transport->AddBidi(service, &Service::RequestPredictStream, kName, "PredictStream",
                       predict_stream, stream_options);
    transport->AddClientStream(service, &Service::RequestEvaluateStream, kName, "EvaluateStream",
                               evaluate_stream, stream_options);
    using Health = HealthProto::AsyncService;
    Health* health = transport->AddService(std::make_unique<Health>());
    transport->AddUnary(health, &Health::RequestCheck, "grpc.health.v1.Health", "Check",
                        [](const HealthRequest&, HealthResponse*) { return absl::OkStatus(); },
                        {.always_open = true});
    transport->AddServerStream(health, &Health::RequestWatch, "grpc.health.v1.Health", "Watch",
                               watch, stream_options);
    const absl::Status started = transport->Start();
    ASSERT_TRUE(started.ok()) << started;
    transport->SetPhase(Phase::kServing);
    channel = ConnectedChannel(absl::StrCat("127.0.0.1:", transport->ports()[0]));
    stub = v1::PredictionService::NewStub(channel);
    health_stub = HealthProto::NewStub(channel);
  }

  Metrics metrics{"test", "v3"};
  std::unique_ptr<Transport> transport;
  std::function<void(Predict&)> predict = [](Predict& call) {
    call.response()->set_step(call.request().min_step());
    call.Finish(absl::OkStatus());
  };
  std::function<std::unique_ptr<PredictStream>(Call&)> predict_stream = [](Call&) {
    return nullptr;
  };
  std::function<std::unique_ptr<EvaluateStream>(Call&)> evaluate_stream = [](Call&) {
    return nullptr;
  };
  std::function<void(std::shared_ptr<Watch>)> watch = [](const auto&) {};

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::PredictionService::Stub> stub;
  std::unique_ptr<HealthProto::Stub> health_stub;
};

// Waits until `condition` holds, at most two minutes.
inline bool Eventually(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Minutes(2);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

// The value of a series, written as in the exposition; "" if it is not there.
inline std::string Series(const Metrics& metrics, const std::string& name) {
  const std::string text = metrics.Expose();
  const size_t at = text.find(absl::StrCat("\n", name, " "));
  if (at == std::string::npos) return "";
  const size_t value = at + name.size() + 2;
  return text.substr(value, text.find('\n', value) - value);
}

inline std::string Labels(const std::string& service, const std::string& method,
                          const std::string& type) {
  return absl::StrCat("grpc_method=\"", method, "\",grpc_service=\"", service, "\",grpc_type=\"",
                      type, "\"");
}

inline std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details().empty()) return "";
  return details.details(0).UnpackTo(&info) ? info.reason() : "";
}

inline bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    if (detail.Is<google::rpc::RetryInfo>()) return true;
  }
  return false;
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_RPC_TEST_SERVER_H_
