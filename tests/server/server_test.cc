#include "server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/channel.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;
using Health = grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;
using testing::StartsWith;

class ServerTest : public ServerFixture {};

constexpr const char* kServices[] = {"lazynorm.v1.ModelService", "lazynorm.v1.TrainingService",
                                     "lazynorm.v1.PredictionService"};

TEST_F(ServerTest, HealthKnowsTheServerItsServicesAndItsModels) {
  EXPECT_EQ(client().Health(""), Health::SERVING);
  EXPECT_EQ(client().Health("liveness"), Health::SERVING);
  EXPECT_EQ(client().Health("readiness"), Health::SERVING);
  for (const char* service : kServices) EXPECT_EQ(client().Health(service), Health::SERVING);
  EXPECT_EQ(client().Health("nobody"), Health::SERVICE_UNKNOWN);
  EXPECT_EQ(client().Health("models/m"), Health::SERVICE_UNKNOWN);
  client().Create("m", "mlp {}");
  EXPECT_EQ(client().Health("models/m"), Health::SERVING);
  client().Delete("m");
  EXPECT_EQ(client().Health("models/m"), Health::SERVICE_UNKNOWN);
}

TEST_F(ServerTest, AnUnknownMethodIsUnimplemented) {
  grpc::GenericStub stub(client().channel);
  for (const char* method : {"/lazynorm.v1.ModelService/Nothing", "/nobody.Nothing/Nothing"}) {
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(), &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED);
  }
  EXPECT_THAT(HttpGet("/metrics"), testing::Not(HasSubstr("Nothing")));
}

TEST_F(ServerTest, AMessageBeyondTheLimitIsRefusedAndTheServerGoesOn) {
  Options options = TestOptions();
  options.max_message_bytes = 4096;
  Start(options);
  client().Create("m", "mlp {}");
  EXPECT_TRUE(client().Predict(RandomQuery("m", 10, 100, 1)).ok());
  const auto refused = client().Predict(RandomQuery("m", 11, 100, 1));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext context;
  auto stream = client().training->TrainStream(&context);
  stream->Write(RandomStep("m", 10, 100, 1));
  v1::TrainResponse response;
  EXPECT_TRUE(stream->Read(&response));
  stream->Write(RandomStep("m", 11, 100, 1));
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(client().Train(RandomStep("m", 10, 100, 1))->step(), 2);
}

TEST_F(ServerTest, ALargeAnswerIsSent) {
  client().Create("wide", "mlp { out_features: 1000 } in_features: 1");
  const auto answer = client().Predict(RandomQuery("wide", 5000, 1, 1));  // 20 MB
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->predictions().values_size(), 5'000'000);
}

TEST_F(ServerTest, StreamsBeyondTheLimitAreRefusedUntilOneEnds) {
  Options options = TestOptions();
  options.max_streams = 2;
  Start(options);
  client().Create("m", "mlp {}");
  struct Stream {
    explicit Stream(Connection& c) : stream(c.training->TrainStream(&context)) {
      stream->Write(RandomStep("m", 4, 2, 1));
    }
    bool Answered() {
      v1::TrainResponse response;
      return stream->Read(&response);
    }
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::TrainRequest, v1::TrainResponse>> stream;
  };
  Stream first(client()), second(client());
  EXPECT_TRUE(first.Answered() && second.Answered());
  Stream third(client());
  EXPECT_FALSE(third.Answered());
  const ErrorDetails error = DetailsOf(third.stream->Finish());
  EXPECT_EQ(error, Error(StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS"));
  EXPECT_GT(error.retry_after, absl::ZeroDuration());
  EXPECT_TRUE(client().Train(RandomStep("m", 4, 2, 1)).ok());  // calls go on
  first.stream->WritesDone();
  EXPECT_FALSE(first.Answered());
  EXPECT_TRUE(first.stream->Finish().ok());
  Stream fourth(client());
  EXPECT_TRUE(fourth.Answered());
}

TEST_F(ServerTest, DrainingTellsProbesAndServesOn) {
  client().Create("m", "mlp {}");
  EXPECT_THAT(HttpGet("/readyz"), StartsWith("HTTP/1.1 200"));
  server_->BeginDrain();
  EXPECT_EQ(client().Health("readiness"), Health::NOT_SERVING);
  EXPECT_EQ(client().Health(""), Health::NOT_SERVING);
  for (const char* service : kServices) EXPECT_EQ(client().Health(service), Health::NOT_SERVING);
  EXPECT_EQ(client().Health("liveness"), Health::SERVING);
  EXPECT_THAT(HttpGet("/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(HttpGet("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(client().Train(RandomStep("m", 4, 2, 1)).ok());
  EXPECT_TRUE(client().Create("late", "mlp {}").ok());
}

TEST_F(ServerTest, StoppingEndsStreamsAfterTheirAnswersAndRefusesNewCalls) {
  client().Create("m", "mlp {}");
  grpc::ClientContext train_context, watch_context;
  auto training = client().training->TrainStream(&train_context);
  v1::WatchModelRequest watch;
  watch.set_model("m");
  auto watching = client().models->WatchModel(&watch_context, watch);
  v1::ModelStatus status;
  ASSERT_TRUE(watching->Read(&status));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(training->Write(RandomStep("m", 4, 2, i)));
  v1::TrainResponse response;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(training->Read(&response));
  server_->Stop(kPatience);
  EXPECT_FALSE(training->Read(&response));
  while (watching->Read(&status)) {
  }
  const ErrorDetails draining = Error(StatusCode::UNAVAILABLE, "DRAINING");
  const ErrorDetails end = DetailsOf(training->Finish());
  EXPECT_EQ(end, draining);
  EXPECT_GT(end.retry_after, absl::ZeroDuration());
  EXPECT_EQ(DetailsOf(watching->Finish()), draining);
  EXPECT_EQ(client().Train(RandomStep("m", 4, 2, 1)).status.error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, WhatIsQueuedWhenStoppingIsFinishedAndAnswered) {
  client().Create("m", "mlp { hidden: 128 hidden: 128 }");
  constexpr int kCalls = 12;
  const v1::TrainRequest step = RandomStep("m", 512, 64, 1);
  std::vector<std::future<Answer<v1::TrainResponse>>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(std::async(std::launch::async, [&] { return client().Train(step); }));
  }
  const std::string received =
      "grpc_server_msg_received_total{grpc_method=\"Train\",grpc_service="
      "\"lazynorm.v1.TrainingService\",grpc_type=\"unary\"}";
  ASSERT_TRUE(Soon([&] { return Metric(received) == absl::StrCat(kCalls); }));
  server_->Stop(kPatience);
  std::vector<int64_t> steps;
  for (auto& call : calls) {
    const auto answer = call.get();
    ASSERT_TRUE(answer.ok()) << answer.error();
    steps.push_back(answer->step());
  }
  std::vector<int64_t> all(kCalls);
  for (int i = 0; i < kCalls; ++i) all[i] = i + 1;
  EXPECT_THAT(steps, testing::UnorderedElementsAreArray(all));
}

TEST_F(ServerTest, StoppingDoesNotWaitForStepsThatNeverCome) {
  client().Create("m", "mlp {}");
  v1::PredictRequest request = RandomQuery("m", 1, 2, 1);
  request.set_min_step(5);
  auto waiting = std::async(std::launch::async, [&] { return client().Predict(request); });
  grpc::ClientContext context;
  auto stream = client().prediction->PredictStream(&context);
  ASSERT_TRUE(stream->Write(request));
  const auto received = [&](const char* method, const char* type) {
    return Metric(absl::StrCat("grpc_server_msg_received_total{grpc_method=\"", method,
                               "\",grpc_service=\"lazynorm.v1.PredictionService\",grpc_type=\"",
                               type, "\"}"));
  };
  ASSERT_TRUE(Soon([&] {
    return received("Predict", "unary") == "1" && received("PredictStream", "bidi_stream") == "1";
  }));
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  const absl::Time begin = absl::Now();
  server_->Stop(kPatience);
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
  EXPECT_EQ(waiting.get().error(), Error(StatusCode::UNAVAILABLE, "DRAINING"));
  v1::PredictResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(DetailsOf(stream->Finish()), Error(StatusCode::UNAVAILABLE, "DRAINING"));
}

TEST_F(ServerTest, CountersAreRightAfterAKnownSequenceOfCalls) {
  client().Create("m", "mlp { hidden: 4 }");
  for (int i = 0; i < 3; ++i) client().Train(RandomStep("m", 8, 2, i));
  client().Train(RandomStep("m", 1, 2, 1));  // TOO_FEW_ROWS
  client().Train(RandomStep("m", 8, 3, 1));  // WIDTH_MISMATCH
  client().Predict(RandomQuery("m", 5, 2, 1));
  client().Predict(RandomQuery("m", 5, 3, 1));
  client().Freeze("m");
  const auto rpc = [&](const std::string& name, const std::string& service,
                       const std::string& method, const std::string& code = "") {
    return Metric(absl::StrCat("grpc_server_", name, "{",
                               code.empty() ? "" : absl::StrCat("grpc_code=\"", code, "\","),
                               "grpc_method=\"", method, "\",grpc_service=\"lazynorm.v1.", service,
                               "\",grpc_type=\"unary\"}"));
  };
  // A call is counted as handled when its last byte is away: a moment after it is read.
  EXPECT_TRUE(
      Soon([&] { return rpc("handled_total", "ModelService", "FreezeStatistics", "OK") == "1"; }));
  EXPECT_EQ(rpc("started_total", "TrainingService", "Train"), "5");
  EXPECT_EQ(rpc("msg_received_total", "TrainingService", "Train"), "5");
  EXPECT_EQ(rpc("msg_sent_total", "TrainingService", "Train"), "3");
  EXPECT_EQ(rpc("handled_total", "TrainingService", "Train", "OK"), "3");
  EXPECT_EQ(rpc("handled_total", "TrainingService", "Train", "InvalidArgument"), "2");
  EXPECT_EQ(rpc("handling_seconds_count", "TrainingService", "Train"), "5");
  EXPECT_EQ(rpc("handled_total", "PredictionService", "Predict", "InvalidArgument"), "1");
  EXPECT_EQ(rpc("started_total", "ModelService", "DeleteModel"), "0");
  const auto model = [&](const std::string& name, const std::string& label = "") {
    return Metric(absl::StrCat("lazynorm_", name, "{model=\"m\"", label, "}"));
  };
  EXPECT_EQ(model("model_step"), "3");
  EXPECT_EQ(model("rows_trained_total"), "24");
  EXPECT_EQ(model("rows_predicted_total"), "5");
  EXPECT_EQ(model("train_rejected_total", ",reason=\"TOO_FEW_ROWS\""), "1");
  EXPECT_EQ(model("train_rejected_total", ",reason=\"WIDTH_MISMATCH\""), "1");
  EXPECT_EQ(model("step_seconds_count"), "3");
  EXPECT_EQ(model("statistics_frozen"), "1");
  // The turn ends after its answers are on their way.
  EXPECT_TRUE(Soon([&] { return model("train_queue_depth") == "0"; }));
  EXPECT_NE(model("batch_norm_shift", ",layer=\"1\""), "");
  EXPECT_NE(model("train_loss"), "");
  EXPECT_EQ(Metric("lazynorm_models"), "1");
}

TEST_F(ServerTest, TheSeriesOfAModelGoWithIt) {
  client().Create("m", "mlp {}");
  client().Train(RandomStep("m", 4, 2, 1));
  EXPECT_THAT(HttpGet("/metrics"), HasSubstr("model=\"m\""));
  client().Delete("m");
  EXPECT_THAT(HttpGet("/metrics"), testing::Not(HasSubstr("model=\"m\"")));
  client().Create("m", "mlp {}");
  EXPECT_EQ(Metric("lazynorm_model_step{model=\"m\"}"), "0");
}

TEST_F(ServerTest, PromtoolHasNothingToSayAboutAScrape) {
  client().Create("m", "mlp { hidden: 4 }");
  client().Create("lazy", "mlp { hidden: 4 }");
  client().Train(RandomStep("m", 8, 2, 1));
  client().Train(RandomStep("m", 1, 2, 1));
  const std::string answer = HttpGet("/metrics");
  EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
  const std::string path = absl::StrCat(testing::TempDir(), "/scrape-", getpid(), ".txt");
  std::ofstream(path) << answer.substr(answer.find("\r\n\r\n") + 4);
  FILE* promtool = popen(absl::StrCat("promtool check metrics < ", path, " 2>&1").c_str(), "r");
  ASSERT_NE(promtool, nullptr);
  std::string said(4096, '\0');
  said.resize(fread(said.data(), 1, said.size(), promtool));
  EXPECT_EQ(pclose(promtool), 0);
  EXPECT_EQ(said, "");
  std::filesystem::remove(path);
}

TEST_F(ServerTest, ListensOnSeveralAddresses) {
  Options options = TestOptions();
  const std::string socket = absl::StrCat(testing::TempDir(), "/lazynorm-", getpid(), ".sock");
  options.listen = {"127.0.0.1:0", "unix:" + socket, "127.0.0.1:0"};
  Start(options);
  client().Create("m", "mlp {}");
  EXPECT_TRUE(Connection(server_->ports()[2]).Get("m").ok());
  const auto stub = v1::ModelService::NewStub(ConnectedChannel("unix:" + socket));
  grpc::ClientContext context;
  v1::GetModelRequest request;
  request.set_model("m");
  v1::Model model;
  EXPECT_TRUE(stub->GetModel(&context, request, &model).ok());
}

TEST_F(ServerTest, AnAddressThatIsTakenIsUnavailable) {
  Options options = TestOptions();
  options.listen = {absl::StrCat("127.0.0.1:", port())};
  EXPECT_EQ(Server::Start(options).status().code(), absl::StatusCode::kUnavailable);
  options = TestOptions();
  options.metrics_listen = absl::StrCat("127.0.0.1:", server_->metrics_port());
  EXPECT_FALSE(Server::Start(options).ok());
}

}  // namespace
}  // namespace lazynorm
