// Callers who neither send nor read: what they hold is bounded, in memory and in time.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/server_fixture.h"
#include "tests/support/train_streaming.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

constexpr absl::Duration kIdle = absl::Milliseconds(400);
const ErrorDetails kStreamIdle = Error(StatusCode::RESOURCE_EXHAUSTED, "STREAM_IDLE");

class SlowCallerTest : public ServerFixture {
 protected:
  void SetUp() override { StartWith(kIdle); }
  void StartWith(absl::Duration max_stream_idle) {
    Options options = TestOptions();
    options.max_stream_idle = max_stream_idle;
    options.max_streams = 1;
    Start(options);
    ASSERT_TRUE(client().Create("m", "mlp { out_features: 1000 } in_features: 1").ok());
  }
  // How many calls of a streamed method ended so.
  int Ended(const std::string& service, const std::string& method, const std::string& type,
            const std::string& code) const {
    return Value(absl::StrCat("grpc_server_handled_total{grpc_code=\"", code, "\",",
                              Labels(service, method, type), "}"));
  }
  static std::string Labels(const std::string& service, const std::string& method,
                            const std::string& type) {
    return absl::StrCat("grpc_method=\"", method, "\",grpc_service=\"lazynorm.v1.", service,
                        "\",grpc_type=\"", type, "\"");
  }
  int Value(const std::string& series) const {
    double value = -1;
    EXPECT_TRUE(absl::SimpleAtod(Metric(series), &value)) << series;
    return static_cast<int>(value);
  }
  // The one stream that may be open is free again.
  bool AStreamIsFree() {
    return Soon([&] {
      TrainStreaming s(client());
      s.stream->WritesDone();
      return s.Finish().code == StatusCode::OK;
    });
  }
};

TEST_F(SlowCallerTest, AStreamWithoutMessagesEnds) {
  const absl::Time begin = absl::Now();
  TrainStreaming s(client());
  EXPECT_TRUE(s.ReadAll().empty());
  const ErrorDetails error = s.Finish();
  EXPECT_EQ(error, kStreamIdle);
  EXPECT_GT(error.retry_after, absl::ZeroDuration());
  EXPECT_GE(absl::Now() - begin, kIdle);
  EXPECT_TRUE(AStreamIsFree());
}

TEST_F(SlowCallerTest, AStreamThatGoesSilentEndsAfterItsAnswers) {
  // A caller that the machine holds up is silent, too: then again, with twice the time.
  int answers = 0;
  for (absl::Duration idle = kIdle; answers < 3; idle *= 2) {
    StartWith(idle);
    ASSERT_TRUE(client().Create("n", "mlp {}").ok());
    TrainStreaming s(client());
    bool held_up = false;
    absl::Time latest = absl::Now();
    for (answers = 0; answers < 3; ++answers) {
      const absl::Time now = absl::Now();
      s.stream->Write(RandomStep("n", 4, 1, 1));
      v1::TrainResponse response;
      const bool answered = s.stream->Read(&response);
      held_up = absl::Now() - latest >= idle;
      if (!answered) break;
      latest = now;
      absl::SleepFor(idle / 2);  // slow, but there
    }
    ASSERT_TRUE(answers == 3 || held_up) << answers;
    EXPECT_TRUE(s.ReadAll().empty());
    EXPECT_EQ(s.Finish(), kStreamIdle);
  }
}

TEST_F(SlowCallerTest, AnEvaluateStreamThatGoesSilentEnds) {
  grpc::ClientContext context;
  v1::EvaluateResponse scores;
  auto stream = client().prediction->EvaluateStream(&context, &scores);
  EXPECT_EQ(DetailsOf(stream->Finish()), kStreamIdle);
}

TEST_F(SlowCallerTest, WhoWaitsForUsIsNotIdle) {
  grpc::ClientContext context;
  v1::WatchModelRequest watch;
  watch.set_model("m");
  auto watching = client().models->WatchModel(&context, watch);  // nothing happens to the model
  v1::ModelStatus status;
  ASSERT_TRUE(watching->Read(&status));
  absl::SleepFor(3 * kIdle);
  EXPECT_EQ(Ended("ModelService", "WatchModel", "server_stream", "Canceled"), 0);
  context.TryCancel();
  watching->Finish();
  ASSERT_TRUE(AStreamIsFree());
  grpc::ClientContext waiting_context;
  waiting_context.set_initial_metadata_corked(true);  // it begins with its first message
  auto waiting = client().prediction->PredictStream(&waiting_context);
  v1::PredictRequest request = RandomQuery("m", 1, 1, 1);
  request.set_min_step(1);  // that comes later
  waiting->Write(request);
  absl::SleepFor(3 * kIdle);
  v1::TrainRequest step = RandomStep("m", 2, 1, 1);
  *step.mutable_targets() = RandomMatrix(2, 1000, 2);
  ASSERT_TRUE(client().Train(step).ok());
  v1::PredictResponse response;
  EXPECT_TRUE(waiting->Read(&response));
  EXPECT_EQ(response.step(), 1);
  waiting->WritesDone();
  const ErrorDetails end = DetailsOf(waiting->Finish());
  // It was the caller's turn again, and a busy machine may have let it miss that.
  EXPECT_TRUE(end.code == StatusCode::OK || end == kStreamIdle) << end;
}

TEST_F(SlowCallerTest, WhoDoesNotReadItsPredictionsIsNotReadEither) {
  grpc::ClientContext context;
  context.set_initial_metadata_corked(true);  // it begins with its first message
  auto stream = client().prediction->PredictStream(&context);
  absl::Duration three_took = absl::InfiniteDuration();
  std::thread writer([&] {
    const v1::PredictRequest request = RandomQuery("m", 100, 1, 1);  // the answer: 400 KB
    const absl::Time begin = absl::Now();
    for (int i = 1; stream->Write(request); ++i) {  // until the server has enough of it
      if (i == 3) three_took = absl::Now() - begin;
    }
  });
  EXPECT_TRUE(Soon(
      [&] { return Ended("PredictionService", "PredictStream", "bidi_stream", "Canceled") == 1; }));
  EXPECT_TRUE(AStreamIsFree());
  // Of the answers more than 1 MiB never waits, and what is on its way is bounded by HTTP/2.
  const int received = Value("grpc_server_msg_received_total{" +
                             Labels("PredictionService", "PredictStream", "bidi_stream") + "}");
  context.TryCancel();
  writer.join();
  if (three_took < kIdle / 2) {
    EXPECT_GE(received, 3);
  }
  EXPECT_LE(received, 20);
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(SlowCallerTest, WhoDoesNotReadItsExportIsCutOff) {
  ASSERT_TRUE(
      client().Create("large", "mlp { hidden: 1000 out_features: 1000 } in_features: 1000").ok());
  grpc::ClientContext context;
  v1::ExportModelRequest request;
  request.set_model("large");
  request.set_format(v1::EXPORT_FORMAT_SAFETENSORS);
  auto stream = client().models->ExportModel(&context, request);  // 8 MB that nobody reads
  EXPECT_TRUE(
      Soon([&] { return Ended("ModelService", "ExportModel", "server_stream", "Canceled") == 1; }));
  EXPECT_TRUE(AStreamIsFree());
  v1::ExportModelResponse piece;
  while (stream->Read(&piece)) {
  }
  EXPECT_FALSE(stream->Finish().ok());
}

}  // namespace
}  // namespace lazynorm
