#include "server/rpc/server_stream_call.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/server/rpc/test_server.h"

namespace lazynorm {
namespace {

// Any number may stand in for a status: proto3 enums are open.
HealthResponse Number(int number) {
  HealthResponse response;
  response.set_status(static_cast<HealthResponse::ServingStatus>(number));
  return response;
}

class ServerStreamCallTest : public testing::Test {
 protected:
  void Start(MethodOptions options = {}) {
    server_.watch = [this](std::shared_ptr<TestServer::Watch> stream) {
      stream->OnCancel([this, stream] { ++cancels_; });
      MutexLock lock(&mutex_);
      watch_ = std::move(stream);
    };
    server_.Start(options);
    reader_ = server_.health_stub->Watch(&context_, {});
    ASSERT_TRUE(Eventually([&] { return Watch() != nullptr; }));
  }

  std::shared_ptr<TestServer::Watch> Watch() {
    MutexLock lock(&mutex_);
    return watch_;
  }

  int Read() {
    HealthResponse response;
    return reader_->Read(&response) ? static_cast<int>(response.status()) : -1;
  }

  std::atomic<int> cancels_ = 0;
  Mutex mutex_;
  std::shared_ptr<TestServer::Watch> watch_ ABSL_GUARDED_BY(mutex_);
  TestServer server_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthResponse>> reader_;
};

TEST_F(ServerStreamCallTest, WritesArriveInOrderAndThenTheStatus) {
  Start();
  for (int i = 0; i < 100; ++i) Watch()->Write(Number(i));
  Watch()->Finish(StartingError());
  Watch()->Write(Number(100));  // after the end: nobody sees it
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Read(), i);
  EXPECT_EQ(Read(), -1);
  EXPECT_EQ(ReasonOf(reader_->Finish()), "STARTING");
  EXPECT_EQ(cancels_, 0);
}

TEST_F(ServerStreamCallTest, ASlowReaderGetsOnlyTheNewest) {
  Start();
  constexpr int kWrites = 1'000'000;
  for (int i = 1; i <= kWrites; ++i) Watch()->WriteLatest(Number(i));
  Watch()->Finish(absl::OkStatus());
  int reads = 0;
  int latest = 0;
  for (int number = Read(); number != -1; number = Read()) {
    EXPECT_GT(number, latest);
    latest = number;
    ++reads;
  }
  EXPECT_EQ(latest, kWrites);
  EXPECT_LT(reads, kWrites / 2);
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(ServerStreamCallTest, WritersOnSeveralThreadsAreSafe) {
  Start();
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) Watch()->Write(Number(1));
    });
  }
  int sum = 0;
  for (int i = 0; i < 300; ++i) sum += Read();
  EXPECT_EQ(sum, 300);
  for (std::thread& writer : writers) writer.join();
}

TEST_F(ServerStreamCallTest, ACallerThatGoesAwayIsNoticedOnce) {
  Start();
  Watch()->Write(Number(1));
  EXPECT_EQ(Read(), 1);
  context_.TryCancel();
  EXPECT_TRUE(Eventually([&] { return cancels_ == 1; }));
  EXPECT_TRUE(Watch()->cancelled());
  Watch()->Write(Number(2));
  Watch()->Finish(absl::OkStatus());
}

TEST_F(ServerStreamCallTest, DrainingEndsTheStreamAfterWhatIsWritten) {
  Start();
  for (int i = 0; i < 10; ++i) Watch()->Write(Number(i));
  server_.transport->SetPhase(Phase::kDraining);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Read(), i);
  EXPECT_EQ(Read(), -1);
  EXPECT_EQ(ReasonOf(reader_->Finish()), "DRAINING");
  EXPECT_EQ(cancels_, 1);  // the handler hears of it before the caller does
  bool late = false;
  Watch()->OnCancel([&] { late = true; });
  EXPECT_TRUE(late);
}

TEST_F(ServerStreamCallTest, DrainingLetsAStreamThatEndsByItself) {
  Start({.ends_by_itself = true});
  server_.transport->SetPhase(Phase::kDraining);
  Watch()->Write(Number(1));
  Watch()->Finish(absl::OkStatus());
  EXPECT_EQ(Read(), 1);
  EXPECT_EQ(Read(), -1);
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(ServerStreamCallTest, AnAlwaysOpenStreamOutlivesDraining) {
  Start({.always_open = true});
  server_.transport->SetPhase(Phase::kDraining);
  Watch()->Write(Number(1));
  EXPECT_EQ(Read(), 1);
}

}  // namespace
}  // namespace lazynorm
