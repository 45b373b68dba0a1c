#include "server/rpc/client_stream_call.h"

#include <gtest/gtest.h>

#include <atomic>

#include "server/base/executor.h"
#include "tests/server/rpc/test_server.h"

namespace lazynorm {
namespace {

using Done = absl::AnyInvocable<void(absl::Status)>;

struct Counts {
  std::atomic<int> messages = 0;
  std::atomic<int> at_once = 0;
  std::atomic<int> ends = 0;
  std::atomic<int> cancels = 0;
  std::atomic<int> destroyed = 0;
};

// Adds up the rows of its messages on an executor; a negative number of rows is an error.
class SumHandler : public TestServer::EvaluateStream {
 public:
  SumHandler(Executor* executor, Counts* counts) : executor_(executor), counts_(counts) {}
  ~SumHandler() override { ++counts_->destroyed; }

  void OnMessage(v1::EvaluateRequest request, Done done) override {
    EXPECT_EQ(++counts_->at_once, 1);
    executor_->Run([this, rows = request.features().rows(), done = std::move(done)]() mutable {
      rows_ += rows;
      ++counts_->messages;
      --counts_->at_once;
      done(rows < 0 ? absl::InvalidArgumentError("rows") : absl::OkStatus());
    });
  }

  void OnEnd(Reply<v1::EvaluateResponse> reply) override {
    ++counts_->ends;
    executor_->Run([this, reply = std::move(reply)]() mutable {
      v1::EvaluateResponse response;
      response.set_rows(rows_);
      reply(std::move(response));
    });
  }

  void OnCancel() override { ++counts_->cancels; }

 private:
  Executor* const executor_;
  Counts* const counts_;
  int64_t rows_ = 0;  // of the one message that is in work
};

class ClientStreamCallTest : public testing::Test {
 protected:
  void SetUp() override {
    server_ = std::make_unique<TestServer>();
    server_->evaluate_stream = [this](Call&) {
      return std::make_unique<SumHandler>(&executor_, &counts_);
    };
    server_->Start();
    stream_ = server_->stub->EvaluateStream(&context_, &response_);
  }

  static v1::EvaluateRequest Rows(int rows) {
    v1::EvaluateRequest request;
    request.mutable_features()->set_rows(rows);
    return request;
  }

  Counts counts_;
  Executor executor_{2};
  std::unique_ptr<TestServer> server_;
  grpc::ClientContext context_;
  v1::EvaluateResponse response_;
  std::unique_ptr<grpc::ClientWriter<v1::EvaluateRequest>> stream_;
};

TEST_F(ClientStreamCallTest, MessagesAreTakenOneAtATimeAndAnsweredOnce) {
  for (int i = 1; i <= 100; ++i) ASSERT_TRUE(stream_->Write(Rows(i)));
  stream_->WritesDone();
  const grpc::Status status = stream_->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.rows(), 5050);
  EXPECT_EQ(counts_.ends, 1);
  EXPECT_TRUE(Eventually([&] { return counts_.destroyed == 1; }));
}

TEST_F(ClientStreamCallTest, AnEmptyStreamIsAnsweredToo) {
  stream_->WritesDone();
  EXPECT_TRUE(stream_->Finish().ok());
  EXPECT_EQ(response_.rows(), 0);
}

TEST_F(ClientStreamCallTest, AnErrorEndsTheStream) {
  ASSERT_TRUE(stream_->Write(Rows(1)));
  stream_->Write(Rows(-1));
  stream_->Write(Rows(1));
  stream_->WritesDone();
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(counts_.messages, 2);
  EXPECT_EQ(counts_.ends, 0);
}

TEST_F(ClientStreamCallTest, DrainingEndsTheStream) {
  ASSERT_TRUE(stream_->Write(Rows(1)));
  ASSERT_TRUE(Eventually([&] { return counts_.messages == 1; }));
  server_->transport->SetPhase(Phase::kDraining);
  const grpc::Status status = stream_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  EXPECT_EQ(counts_.ends, 0);
}

TEST_F(ClientStreamCallTest, ACancelledStreamIsNotTakenForACompleteOne) {
  constexpr int kStreams = 50;
  for (int i = 0; i < kStreams; ++i) {
    grpc::ClientContext context;
    v1::EvaluateResponse response;
    const auto stream = server_->stub->EvaluateStream(&context, &response);
    ASSERT_TRUE(stream->Write(Rows(1)));
    ASSERT_TRUE(Eventually([&] { return counts_.messages == i + 1; }));
    context.TryCancel();
    EXPECT_FALSE(stream->Finish().ok());
  }
  EXPECT_TRUE(Eventually([&] { return counts_.destroyed == kStreams; }));
  EXPECT_EQ(counts_.ends, 0);
  EXPECT_EQ(counts_.cancels, kStreams);
}

}  // namespace
}  // namespace lazynorm
