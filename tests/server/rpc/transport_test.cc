#include "server/rpc/transport.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/executor.h"
#include "server/rpc/guard.h"
#include "tests/server/rpc/test_server.h"
#include "tests/support/channel.h"

namespace lazynorm {
namespace {

const std::string kPredictLabels = Labels("lazynorm.v1.PredictionService", "Predict", "unary");

std::string Handled(const Metrics& metrics, const std::string& code) {
  return Series(metrics, absl::StrCat("grpc_server_handled_total{grpc_code=\"", code, "\",",
                                      kPredictLabels, "}"));
}

grpc::Status Predict(TestServer& server, int64_t min_step, v1::PredictResponse* response,
                     absl::Duration timeout = absl::Seconds(120)) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  v1::PredictRequest request;
  request.set_min_step(min_step);
  return server.stub->Predict(&context, request, response);
}

TEST(TransportTest, AHandlerMayAnswerAtOnce) {
  TestServer server;
  server.Start();
  v1::PredictResponse response;
  const grpc::Status status = Predict(server, 7, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.step(), 7);
}

TEST(TransportTest, AHandlerMayAnswerLaterFromAnotherThread) {
  TestServer server;
  Executor executor(2);
  server.predict = [&](TestServer::Predict& call) {
    executor.Run([&call] {
      call.response()->set_step(call.request().min_step() + 1);
      call.Finish(absl::OkStatus());
    });
  };
  server.Start();
  v1::PredictResponse response;
  ASSERT_TRUE(Predict(server, 7, &response).ok());
  EXPECT_EQ(response.step(), 8);
}

TEST(TransportTest, AnErrorArrivesWithItsReason) {
  TestServer server;
  server.predict = [](TestServer::Predict& call) { call.Finish(StartingError()); };
  server.Start();
  v1::PredictResponse response;
  const grpc::Status status = Predict(server, 7, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "STARTING");
}

TEST(TransportTest, ABurstOfCallsIsAnswered) {
  TestServer server;
  server.Start();
  constexpr int kCalls = 256;
  grpc::CompletionQueue queue;
  struct Pending {
    grpc::ClientContext context;
    v1::PredictResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::PredictResponse>> reader;
  };
  std::vector<Pending> pending(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    v1::PredictRequest request;
    request.set_min_step(i);
    pending[i].reader = server.stub->AsyncPredict(&pending[i].context, request, &queue);
    pending[i].reader->Finish(&pending[i].response, &pending[i].status, &pending[i]);
  }
  for (int i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
  }
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(pending[i].status.ok()) << pending[i].status.error_message();
    ASSERT_EQ(pending[i].response.step(), i);
  }
  EXPECT_EQ(Handled(server.metrics, "OK"), "256");
}

TEST(TransportTest, ACallerThatGoesAwayIsNoticed) {
  TestServer server;
  std::atomic<TestServer::Predict*> waiting = nullptr;
  std::atomic<int> cancels = 0;
  server.predict = [&](TestServer::Predict& call) {
    EXPECT_FALSE(call.cancelled());
    call.OnCancel([&] { ++cancels; });
    waiting = &call;
  };
  server.Start();
  grpc::ClientContext context;
  std::thread caller([&] {
    v1::PredictResponse response;
    EXPECT_EQ(server.stub->Predict(&context, {}, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  EXPECT_TRUE(Eventually([&] { return waiting != nullptr; }));
  context.TryCancel();
  EXPECT_TRUE(Eventually([&] { return cancels == 1; }));
  EXPECT_TRUE(waiting.load()->cancelled());
  bool late = false;
  waiting.load()->OnCancel([&] { late = true; });
  EXPECT_TRUE(late);
  waiting.load()->Finish(absl::OkStatus());
  caller.join();
  EXPECT_EQ(Handled(server.metrics, "Canceled"), "1");
  EXPECT_EQ(Handled(server.metrics, "OK"), "0");
}

TEST(TransportTest, ADeadlineIsKnownAndEndsTheWait) {
  TestServer server;
  std::atomic<int> seen = 0, far = 0;
  server.predict = [&](TestServer::Predict& call) {
    far += call.deadline() > absl::Now() + absl::Seconds(60) ? 1 : 0;
    ++seen;
    call.OnCancel([&call] { call.Finish(absl::CancelledError()); });
  };
  server.Start();
  // Of a call that took long to come, the caller is gone before the deadline that the server knows.
  EXPECT_TRUE(Eventually([&] {
    v1::PredictResponse response;
    EXPECT_EQ(Predict(server, 1, &response, absl::Milliseconds(50)).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
    return Handled(server.metrics, "DeadlineExceeded") != "0";
  }));
  EXPECT_GT(seen, 0);
  EXPECT_EQ(far, 0);
}

TEST(TransportTest, WithoutADeadlineItIsInfinite) {
  TestServer server;
  absl::Time deadline;
  server.predict = [&](TestServer::Predict& call) {
    deadline = call.deadline();
    call.Finish(absl::OkStatus());
  };
  server.Start();
  grpc::ClientContext context;
  v1::PredictResponse response;
  ASSERT_TRUE(server.stub->Predict(&context, {}, &response).ok());
  EXPECT_EQ(deadline, absl::InfiniteFuture());
}

TEST(TransportTest, AnswersAndCancellationsMayMeet) {
  TestServer server;
  Executor executor(2);
  server.predict = [&](TestServer::Predict& call) {
    call.OnCancel([] {});
    executor.Run([&call] { call.Finish(absl::OkStatus()); });
  };
  server.Start();
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        v1::PredictResponse response;
        std::thread canceller([&] {
          absl::SleepFor(absl::Microseconds(20 * ((i + t) % 10)));
          context.TryCancel();
        });
        server.stub->Predict(&context, {}, &response);
        canceller.join();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  v1::PredictResponse response;
  EXPECT_TRUE(Predict(server, 1, &response).ok());
}

TEST(TransportTest, WhoHasAnAnswerMayCallAgainBeforeTheCallIsGone) {
  Guard guard(nullptr, {.calls_in_flight = 1});
  std::atomic<int> calls = 0;
  std::atomic<bool> again = false;
  TestServer server({.polling_threads = 2, .guard = &guard});
  server.predict = [&](TestServer::Predict& call) {
    const bool first = ++calls == 1;
    call.Finish(absl::OkStatus());
    if (first) {  // its thread is held up
      EXPECT_TRUE(Eventually([&] { return again.load(); }));
    }
  };
  server.Start();
  v1::PredictResponse response;
  EXPECT_TRUE(Predict(server, 1, &response).ok());
  EXPECT_TRUE(Predict(server, 2, &response).ok());
  again = true;
}

TEST(TransportTest, MetadataIsSeen) {
  TestServer server;
  std::promise<std::pair<std::string, std::string>> seen;
  server.predict = [&](TestServer::Predict& call) {
    seen.set_value({call.Metadata("authorization"), call.Metadata("x-other")});
    call.Finish(absl::OkStatus());
  };
  server.Start();
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer abc");
  v1::PredictResponse response;
  ASSERT_TRUE(server.stub->Predict(&context, {}, &response).ok());
  EXPECT_EQ(seen.get_future().get(), std::make_pair(std::string("Bearer abc"), std::string()));
}

TEST(TransportTest, EachPhaseLetsInWhatItShould) {
  TestServer server;
  server.Start();
  v1::PredictResponse response;
  const auto check_health = [&] {
    grpc::ClientContext context;
    HealthResponse answer;
    return server.health_stub->Check(&context, {}, &answer).ok();
  };
  for (const auto& [phase, reason] :
       {std::pair(Phase::kStarting, "STARTING"), std::pair(Phase::kDraining, "DRAINING")}) {
    server.transport->SetPhase(phase);
    const grpc::Status status = Predict(server, 1, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_TRUE(HasRetryInfo(status));
    EXPECT_TRUE(check_health());
  }
  EXPECT_EQ(Handled(server.metrics, "Unavailable"), "2");
}

TEST(TransportTest, AMessageBeyondTheLimitIsRefusedByGrpc) {
  TestServer server({.max_message_bytes = 1000});
  server.Start();
  grpc::ClientContext context;
  v1::PredictRequest request;
  request.set_model(std::string(2000, 'a'));
  v1::PredictResponse response;
  EXPECT_EQ(server.stub->Predict(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Predict(server, 1, &response).ok());
}

TEST(TransportTest, AnUnknownMethodIsUnimplementedAndLeavesNoLabel) {
  TestServer server;
  server.Start();
  grpc::GenericStub stub(server.channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, "/lazynorm.v1.PredictionService/NoSuchMethod",
                                          grpc::ByteBuffer(), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(server.metrics.Expose().find("NoSuchMethod"), std::string::npos);
}

TEST(TransportTest, CallsAreCounted) {
  TestServer server;
  server.Start();
  EXPECT_EQ(Handled(server.metrics, "OK"), "0");
  v1::PredictResponse response;
  ASSERT_TRUE(Predict(server, 1, &response).ok());
  for (const char* name : {"grpc_server_started_total", "grpc_server_msg_received_total",
                           "grpc_server_msg_sent_total", "grpc_server_handling_seconds_count"}) {
    EXPECT_EQ(Series(server.metrics, absl::StrCat(name, "{", kPredictLabels, "}")), "1") << name;
  }
  EXPECT_EQ(Handled(server.metrics, "OK"), "1");
}

TEST(TransportTest, ATakenPortIsAnError) {
  TestServer server;
  server.Start();
  Metrics metrics("test", "v3");
  const std::string address = absl::StrCat("127.0.0.1:", server.transport->ports()[0]);
  Transport second({.listen = {address}}, metrics);
  const absl::Status status = second.Start();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find(address), absl::string_view::npos) << status;
}

TEST(TransportTest, AMethodWithoutAHandlerIsAnError) {
  Metrics metrics("test", "v3");
  Transport transport({.listen = {"127.0.0.1:0"}}, metrics);
  using Health = HealthProto::AsyncService;
  Health* health = transport.AddService(std::make_unique<Health>());
  transport.AddUnary(health, &Health::RequestCheck, "grpc.health.v1.Health", "Check",
                     [](const HealthRequest&, HealthResponse*) { return absl::OkStatus(); });
  const absl::Status status = transport.Start();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("grpc.health.v1.Health/Watch"), absl::string_view::npos)
      << status;
}

TEST(TransportTest, ListensOnUnixSocketsToo) {
  const std::string path = absl::StrCat(testing::TempDir(), "/lazynorm-", getpid(), ".sock");
  Metrics metrics("test", "v3");
  Transport transport({.listen = {"127.0.0.1:0", absl::StrCat("unix:", path)}}, metrics);
  using Health = HealthProto::AsyncService;
  Health* health = transport.AddService(std::make_unique<Health>());
  transport.AddUnary(health, &Health::RequestCheck, "grpc.health.v1.Health", "Check",
                     [](const HealthRequest&, HealthResponse*) { return absl::OkStatus(); },
                     {.always_open = true});
  transport.AddServerStream(health, &Health::RequestWatch, "grpc.health.v1.Health", "Watch",
                            [](std::shared_ptr<TestServer::Watch>) {});
  ASSERT_TRUE(transport.Start().ok());
  const auto stub = HealthProto::NewStub(ConnectedChannel(absl::StrCat("unix:", path)));
  grpc::ClientContext context;
  HealthResponse response;
  EXPECT_TRUE(stub->Check(&context, {}, &response).ok());
}

TEST(TransportTest, ShutdownWaitsForCallsInWork) {
  TestServer server;
  std::atomic<TestServer::Predict*> waiting = nullptr;
  server.predict = [&](TestServer::Predict& call) { waiting = &call; };
  server.Start();
  std::thread caller([&] {
    v1::PredictResponse response;
    EXPECT_TRUE(Predict(server, 1, &response).ok());
  });
  ASSERT_TRUE(Eventually([&] { return waiting != nullptr; }));
  std::atomic<bool> down = false;
  std::thread stopper([&] {
    server.transport->Shutdown(absl::Now() + absl::Seconds(120));
    down = true;
  });
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_FALSE(down);
  waiting.load()->Finish(absl::OkStatus());
  stopper.join();
  caller.join();
}

TEST(TransportTest, ShutdownCancelsWhatIsNotDoneInTime) {
  TestServer server;
  server.predict = [&](TestServer::Predict& call) {
    call.OnCancel([&call] { call.Finish(absl::CancelledError()); });
  };
  server.Start();
  std::thread caller([&] {
    v1::PredictResponse response;
    EXPECT_FALSE(Predict(server, 1, &response).ok());
  });
  const std::string started = absl::StrCat("grpc_server_started_total{", kPredictLabels, "}");
  ASSERT_TRUE(Eventually([&] { return Series(server.metrics, started) == "1"; }));
  server.transport->Shutdown(absl::Now() + absl::Milliseconds(20));
  caller.join();
}

TEST(TransportTest, TimersRunOnceUnlessCancelled) {
  TestServer server;
  server.Start();
  std::atomic<int> runs = 0;
  std::shared_ptr<std::atomic<int>> cancelled_runs;
  absl::Time when;
  // Until one is cancelled before its time has come.
  for (absl::Duration in = absl::Milliseconds(10);; in *= 2) {
    cancelled_runs = std::make_shared<std::atomic<int>>(0);
    when = absl::Now() + in;
    server.transport->RunAt(when, [cancelled_runs] { ++*cancelled_runs; })->Cancel();
    if (absl::Now() < when) break;
  }
  server.transport->RunAt(when + absl::Milliseconds(10), [&] { ++runs; });
  server.transport->RunAt(absl::InfiniteFuture(), [&] { ++*cancelled_runs; });
  EXPECT_TRUE(Eventually([&] { return runs == 1; }));
  server.transport->Shutdown(absl::InfinitePast());
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(*cancelled_runs, 0);
  server.transport->RunAt(absl::Now(), [&] { ++*cancelled_runs; })->Cancel();
  EXPECT_EQ(*cancelled_runs, 0);
}

TEST(TransportTest, SeveralPollingThreadsShareTheWork) {
  TestServer server({.polling_threads = 3});
  server.Start();
  std::vector<std::thread> callers;
  std::atomic<int> answered = 0;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        v1::PredictResponse response;
        if (Predict(server, i, &response).ok() && response.step() == i) ++answered;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(answered, 400);
}

}  // namespace
}  // namespace lazynorm
