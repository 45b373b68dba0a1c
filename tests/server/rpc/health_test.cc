#include "server/rpc/health.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/metrics/metrics.h"
#include "server/rpc/transport.h"
#include "tests/support/channel.h"

namespace lazynorm {
namespace {

using Stub = grpc::health::v1::Health::Stub;

class HealthTest : public testing::Test {
 protected:
  void SetUp() override {
    AddHealthService(transport_, health_);
    ASSERT_TRUE(transport_.Start().ok());
    channel_ = ConnectedChannel(absl::StrCat("127.0.0.1:", transport_.ports()[0]));
    stub_ = grpc::health::v1::Health::NewStub(channel_);
  }

  static Health::Request Name(const std::string& name) {
    Health::Request request;
    request.set_service(name);
    return request;
  }

  grpc::Status Check(const std::string& name, Health::Response* response) {
    grpc::ClientContext context;
    return stub_->Check(&context, Name(name), response);
  }

  Metrics metrics_{"test", "v3"};
  Health health_;
  Transport transport_{{.listen = {"127.0.0.1:0"}, .max_streams = 0}, metrics_};
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Stub> stub_;
};

TEST_F(HealthTest, CheckTellsTheStatusOfKnownNames) {
  health_.Set("", true);
  health_.Set("models/a", false);
  Health::Response response;
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_EQ(response.status(), Health::Response::SERVING);
  ASSERT_TRUE(Check("models/a", &response).ok());
  EXPECT_EQ(response.status(), Health::Response::NOT_SERVING);
}

TEST_F(HealthTest, CheckOfAnUnknownNameIsNotFound) {
  health_.Set("models/a", true);
  health_.Remove("models/a");
  Health::Response response;
  EXPECT_EQ(Check("models/a", &response).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Check("", &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthTest, IsAnsweredInEveryPhase) {
  health_.Set("", true);
  Health::Response response;
  for (Phase phase : {Phase::kStarting, Phase::kServing, Phase::kDraining}) {
    transport_.SetPhase(phase);
    EXPECT_TRUE(Check("", &response).ok());
  }
}

TEST_F(HealthTest, WatchSendsThePresentStatusAndThenEachChange) {
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, Name("models/a"));
  Health::Response response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), Health::Response::SERVICE_UNKNOWN);
  health_.Set("models/b", true);
  health_.Set("models/a", true);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), Health::Response::SERVING);
  health_.Set("models/a", true);  // no change, no message
  health_.Set("models/a", false);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), Health::Response::NOT_SERVING);
  health_.Remove("models/a");
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), Health::Response::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthTest, WatchersComeAndGoWhileTheStatusChanges) {
  std::thread changes([&] {
    for (int i = 0; i < 300; ++i) health_.Set("a", i % 2 == 0);
  });
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    const auto reader = stub_->Watch(&context, Name("a"));
    Health::Response response;
    EXPECT_TRUE(reader->Read(&response));
    context.TryCancel();
    reader->Finish();
  }
  changes.join();
  Health::Response response;
  ASSERT_TRUE(Check("a", &response).ok());
  EXPECT_EQ(response.status(), Health::Response::NOT_SERVING);
}

TEST_F(HealthTest, ShutdownEndsTheWatchersAtOnce) {
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, Name(""));
  Health::Response response;
  ASSERT_TRUE(reader->Read(&response));
  const absl::Time start = absl::Now();
  transport_.Shutdown(start + absl::Seconds(180));
  EXPECT_LT(absl::Now() - start, absl::Seconds(90));
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace lazynorm
