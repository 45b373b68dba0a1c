#include "server/rpc/bidi_call.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "server/base/executor.h"
#include "tests/server/rpc/test_server.h"

namespace lazynorm {
namespace {

using Replies = Reply<v1::PredictResponse>;

const std::string kLabels = Labels("lazynorm.v1.PredictionService", "PredictStream", "bidi_stream");

v1::PredictResponse Step(int64_t step) {
  v1::PredictResponse response;
  response.set_step(step);
  return response;
}

v1::PredictRequest Message(int64_t number, bool alone = false) {
  v1::PredictRequest request;
  request.set_min_step(number);
  if (alone) request.set_model("alone");
  return request;
}

// What the handlers of a test saw, and the replies they still owe. Thread-safe.
struct Desk {
  void Put(int64_t number, Replies reply) {
    MutexLock lock(&mutex);
    seen.push_back(number);
    replies.emplace(number, std::move(reply));
  }
  size_t Seen() {
    MutexLock lock(&mutex);
    return seen.size();
  }
  void Answer(int64_t number, absl::StatusOr<v1::PredictResponse> answer) {
    Take(number)(std::move(answer));
  }
  void Answer(int64_t number) { Answer(number, Step(number)); }
  Replies Take(int64_t number) {
    MutexLock lock(&mutex);
    return std::move(replies.extract(number).mapped());
  }

  Mutex mutex;
  std::vector<int64_t> seen ABSL_GUARDED_BY(mutex);
  std::map<int64_t, Replies> replies ABSL_GUARDED_BY(mutex);
  std::atomic<int> broken = 0;
  std::atomic<int> cancelled = 0;
  std::atomic<int> destroyed = 0;
};

// Lays every message on the desk; those of model "alone" may not overlap with earlier ones.
class DeskHandler : public TestServer::PredictStream {
 public:
  explicit DeskHandler(Desk* desk) : desk_(desk) {}
  ~DeskHandler() override { ++desk_->destroyed; }
  void OnMessage(v1::PredictRequest request, Replies reply) override {
    desk_->Put(request.min_step(), std::move(reply));
  }
  bool MayOverlap(const v1::PredictRequest& next) override { return next.model() != "alone"; }
  void OnBroken() override { ++desk_->broken; }
  void OnCancel() override { ++desk_->cancelled; }

 private:
  Desk* const desk_;
};

// Answers at once.
class EchoHandler : public TestServer::PredictStream {
 public:
  void OnMessage(v1::PredictRequest request, Replies reply) override {
    reply(Step(request.min_step()));
  }
};

class BidiCallTest : public testing::Test {
 protected:
  void Start(TransportOptions options = {}, MethodOptions stream_options = {}) {
    server_ = std::make_unique<TestServer>(std::move(options));
    server_->predict_stream = [this](Call&) { return std::make_unique<DeskHandler>(&desk_); };
    server_->Start(stream_options);
    stream_ = server_->stub->PredictStream(&context_);
  }

  int64_t Read() {
    v1::PredictResponse response;
    return stream_->Read(&response) ? response.step() : -1;
  }

  Desk desk_;  // outlives the server
  std::unique_ptr<TestServer> server_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::PredictRequest, v1::PredictResponse>> stream_;
};

TEST_F(BidiCallTest, AnswersComeInTheOrderOfTheMessages) {
  Start();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(stream_->Write(Message(i)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 4; }));
  for (int i : {2, 0, 3, 1}) desk_.Answer(i);
  stream_->WritesDone();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Read(), i);
  EXPECT_EQ(Read(), -1);
  EXPECT_TRUE(stream_->Finish().ok());
  EXPECT_TRUE(Eventually([&] { return desk_.destroyed == 1; }));
  EXPECT_EQ(desk_.broken + desk_.cancelled, 0);
}

TEST_F(BidiCallTest, AnErrorEndsTheStreamAfterTheAnswersBeforeIt) {
  Start();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(stream_->Write(Message(i)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 4; }));
  desk_.Answer(2, StartingError());
  EXPECT_EQ(desk_.broken, 1);
  stream_->Write(Message(4));  // read by nobody's handler
  desk_.Answer(0);
  desk_.Answer(3);
  desk_.Answer(1, Step(1));
  EXPECT_EQ(Read(), 0);
  EXPECT_EQ(Read(), 1);
  EXPECT_EQ(Read(), -1);
  const grpc::Status status = stream_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "STARTING");
  EXPECT_EQ(desk_.Seen(), 4);
  EXPECT_EQ(desk_.broken, 1);
}

TEST_F(BidiCallTest, OfTwoErrorsTheEarlierMessagesIsTheStreams) {
  Start();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(stream_->Write(Message(i)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 2; }));
  desk_.Answer(1, absl::InternalError("second"));
  desk_.Answer(0, absl::AbortedError("first"));
  EXPECT_EQ(Read(), -1);
  EXPECT_EQ(stream_->Finish().error_message(), "first");
  EXPECT_EQ(desk_.broken, 1);
}

TEST_F(BidiCallTest, AMessageThatMayNotOverlapWaitsForAllBeforeIt) {
  Start();
  ASSERT_TRUE(stream_->Write(Message(0)));
  ASSERT_TRUE(stream_->Write(Message(1)));
  ASSERT_TRUE(stream_->Write(Message(2, /*alone=*/true)));
  ASSERT_TRUE(stream_->Write(Message(3)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 2; }));
  desk_.Answer(1);
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(desk_.Seen(), 2);
  desk_.Answer(0);
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 4; }));
  desk_.Answer(3);
  desk_.Answer(2);
  stream_->WritesDone();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Read(), i);
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(BidiCallTest, ReadingPausesWhenTheWindowIsFull) {
  Start({}, {.window = 3});
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(stream_->Write(Message(i)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 3; }));
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(desk_.Seen(), 3);
  desk_.Answer(0);
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 4; }));
  for (int i = 1; i < 4; ++i) desk_.Answer(i);
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 6; }));
  for (int i = 4; i < 6; ++i) desk_.Answer(i);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Read(), i);
}

TEST_F(BidiCallTest, AReplyThatIsDroppedAnswersInternal) {
  Start();
  ASSERT_TRUE(stream_->Write(Message(0)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 1; }));
  { const Replies dropped = desk_.Take(0); }
  EXPECT_EQ(Read(), -1);
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::INTERNAL);
}

TEST_F(BidiCallTest, DrainingAnswersWhatIsInWorkAndThenEndsTheStream) {
  Start();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(stream_->Write(Message(i)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 2; }));
  server_->transport->SetPhase(Phase::kDraining);
  stream_->Write(Message(2));
  desk_.Answer(1);
  desk_.Answer(0);
  EXPECT_EQ(Read(), 0);
  EXPECT_EQ(Read(), 1);
  EXPECT_EQ(Read(), -1);
  const grpc::Status status = stream_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  EXPECT_EQ(desk_.Seen(), 2);
}

TEST_F(BidiCallTest, DrainingEndsAnIdleStreamAtOnce) {
  Start();
  ASSERT_TRUE(stream_->Write(Message(0)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 1; }));
  desk_.Answer(0);
  EXPECT_EQ(Read(), 0);
  server_->transport->SetPhase(Phase::kDraining);
  EXPECT_EQ(Read(), -1);
  EXPECT_EQ(ReasonOf(stream_->Finish()), "DRAINING");
}

TEST_F(BidiCallTest, ACallerThatGoesAwayIsNoticedAndLateRepliesAreHarmless) {
  Start();
  ASSERT_TRUE(stream_->Write(Message(0)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 1; }));
  context_.TryCancel();
  EXPECT_TRUE(Eventually([&] { return desk_.cancelled == 1; }));
  EXPECT_EQ(desk_.destroyed, 0);
  desk_.Answer(0);
  EXPECT_TRUE(Eventually([&] { return desk_.destroyed == 1; }));
  EXPECT_EQ(desk_.broken, 0);
  EXPECT_EQ(Series(server_->metrics,
                   absl::StrCat("grpc_server_handled_total{grpc_code=\"Canceled\",", kLabels, "}")),
            "1");
}

TEST_F(BidiCallTest, StreamsBeyondTheLimitAreRefused) {
  Start({.max_streams = 1});
  ASSERT_TRUE(stream_->Write(Message(0)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 1; }));
  {
    grpc::ClientContext context;
    const auto second = server_->stub->PredictStream(&context);
    v1::PredictResponse response;
    EXPECT_FALSE(second->Read(&response));
    const grpc::Status status = second->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(status), "TOO_MANY_STREAMS");
    EXPECT_TRUE(HasRetryInfo(status));
  }
  desk_.Answer(0);
  stream_->WritesDone();
  EXPECT_EQ(Read(), 0);
  EXPECT_TRUE(stream_->Finish().ok());
  grpc::ClientContext context;
  const auto third = server_->stub->PredictStream(&context);
  ASSERT_TRUE(third->Write(Message(1)));
  EXPECT_TRUE(Eventually([&] { return desk_.Seen() == 2; }));
  desk_.Answer(1);
  third->WritesDone();
  v1::PredictResponse response;
  EXPECT_TRUE(third->Read(&response));
  EXPECT_TRUE(third->Finish().ok());
}

TEST_F(BidiCallTest, AMessageBeyondTheLimitEndsTheStreamWithGrpcsOwnError) {
  Start({.max_message_bytes = 1000});
  v1::PredictRequest large;
  large.set_model(std::string(2000, 'a'));
  ASSERT_TRUE(stream_->Write(Message(0)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 1; }));
  desk_.Answer(0);
  EXPECT_EQ(Read(), 0);
  stream_->Write(large);
  EXPECT_EQ(Read(), -1);
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(desk_.Seen(), 1);
}

TEST_F(BidiCallTest, MessagesAreCounted) {
  Start();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream_->Write(Message(i)));
  ASSERT_TRUE(Eventually([&] { return desk_.Seen() == 3; }));
  for (int i = 0; i < 3; ++i) desk_.Answer(i);
  stream_->WritesDone();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Read(), i);
  ASSERT_TRUE(stream_->Finish().ok());
  for (const char* name : {"grpc_server_msg_received_total", "grpc_server_msg_sent_total"}) {
    EXPECT_EQ(Series(server_->metrics, absl::StrCat(name, "{", kLabels, "}")), "3") << name;
  }
}

// Every answer comes from one of several threads while several streams run on several pollers.
TEST(BidiCallStressTest, ManyMessagesFromManyThreadsStayInOrder) {
  Executor executor(3);
  TestServer server({.polling_threads = 2});
  class Handler : public TestServer::PredictStream {
   public:
    explicit Handler(Executor* executor) : executor_(executor) {}
    void OnMessage(v1::PredictRequest request, Replies reply) override {
      executor_->Run(
          [step = request.min_step(), reply = std::move(reply)]() mutable { reply(Step(step)); });
    }
    bool MayOverlap(const v1::PredictRequest& next) override { return next.model() != "alone"; }

   private:
    Executor* const executor_;
  };
  server.predict_stream = [&](Call&) { return std::make_unique<Handler>(&executor); };
  server.Start();
  constexpr int kMessages = 500;
  std::vector<std::thread> clients;
  for (int t = 0; t < 3; ++t) {
    clients.emplace_back([&] {
      grpc::ClientContext context;
      const auto stream = server.stub->PredictStream(&context);
      std::thread writer([&] {
        for (int i = 0; i < kMessages; ++i) stream->Write(Message(i, /*alone=*/i % 7 == 0));
        stream->WritesDone();
      });
      v1::PredictResponse response;
      for (int i = 0; i < kMessages; ++i) {
        EXPECT_TRUE(stream->Read(&response));
        EXPECT_EQ(response.step(), i);
      }
      writer.join();
      EXPECT_TRUE(stream->Finish().ok());
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST(BidiCallStressTest, StreamsThatAreCancelledEndAsCancelled) {
  TestServer server;
  server.predict_stream = [&](Call&) { return std::make_unique<EchoHandler>(); };
  server.Start();
  constexpr int kStreams = 50;
  for (int i = 0; i < kStreams; ++i) {
    grpc::ClientContext context;
    const auto stream = server.stub->PredictStream(&context);
    v1::PredictResponse response;
    ASSERT_TRUE(stream->Write(Message(i)));
    ASSERT_TRUE(stream->Read(&response));
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_TRUE(Eventually([&] {
    return Series(server.metrics, absl::StrCat("grpc_server_handled_total{grpc_code=\"Canceled\",",
                                               kLabels, "}")) == absl::StrCat(kStreams);
  }));
}

}  // namespace
}  // namespace lazynorm
