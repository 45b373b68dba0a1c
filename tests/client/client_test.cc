#include "client/client.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace lazynorm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class ClientTest : public ::testing::Test {
 protected:
  Client Connect(ClientOptions options = {}) {
    options.target = server_.address();
    options.first_backoff = absl::Milliseconds(5);
    options.longest_backoff = absl::Milliseconds(50);
    return *Client::Connect(options);
  }

  static v1::TrainRequest OneRow(float x, float y) {
    v1::TrainRequest request;
    request.set_model("m");
    request.mutable_features()->set_rows(1);
    request.mutable_features()->set_columns(1);
    request.mutable_features()->add_values(x);
    request.mutable_targets()->set_rows(1);
    request.mutable_targets()->set_columns(1);
    request.mutable_targets()->add_values(y);
    return request;
  }

  FakeServer server_;
};

TEST_F(ClientTest, ConnectRefusesAnEmptyTargetAndATimeoutOfZero) {
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({.target = ""}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({.timeout = {}}).status()));
}

TEST_F(ClientTest, AModelLivesFromCreateToDelete) {
  const Client client = Connect();
  v1::CreateModelRequest create;
  create.set_model_id("m");
  EXPECT_TRUE(client.CreateModel(create).ok());
  EXPECT_EQ(Client::ReasonOf(client.CreateModel(create).status()), "MODEL_EXISTS");
  EXPECT_EQ(client.GetModel("m")->model_id(), "m");
  EXPECT_TRUE(client.FreezeStatistics("m")->statistics_frozen());
  EXPECT_FALSE(client.UnfreezeStatistics("m")->statistics_frozen());
  EXPECT_EQ(client.GetModelState("m")->tensors_size(), 2);
  EXPECT_TRUE(client.DeleteModel("m").ok());
  EXPECT_TRUE(absl::IsNotFound(client.DeleteModel("m")));
}

TEST_F(ClientTest, ErrorsKeepCodeMessageAndReason) {
  const absl::Status status = Connect().GetModel("nobody").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nobody"));
  EXPECT_EQ(Client::ReasonOf(status), "MODEL_NOT_FOUND");
}

TEST_F(ClientTest, AnErrorOfAnotherMakeHasNoReason) {
  EXPECT_EQ(Client::ReasonOf(absl::InternalError("oh")), "");
  EXPECT_EQ(Client::ReasonOf(absl::OkStatus()), "");
}

TEST_F(ClientTest, ListAllModelsReadsEveryPage) {
  for (const char* id : {"a", "b", "c"}) server_.AddModel(id);
  std::vector<std::string> ids;
  const std::vector<v1::Model> models = *Connect().ListAllModels();
  for (const v1::Model& model : models) ids.push_back(model.model_id());
  EXPECT_THAT(ids, ElementsAre("a", "b", "c"));
}

TEST_F(ClientTest, TrainRetriesUnderOneRequestIdAndTrainsOnce) {
  server_.AddModel("m");
  server_.state().train_failures = {
      RichError(grpc::StatusCode::UNAVAILABLE, "starting", "STARTING"),
      RichError(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full", "QUEUE_FULL", 1)};
  EXPECT_EQ(Connect().Train(OneRow(1, 2))->step(), 1);
  const std::vector<std::string>& attempts = server_.state().train_attempts;
  ASSERT_THAT(attempts, SizeIs(3));
  EXPECT_THAT(attempts[0], Not(IsEmpty()));
  EXPECT_EQ(std::set<std::string>(attempts.begin(), attempts.end()).size(), 1u);
  EXPECT_EQ(server_.state().trained.size(), 1u);
}

TEST_F(ClientTest, TrainKeepsTheCallersRequestId) {
  server_.AddModel("m");
  v1::TrainRequest request = OneRow(1, 2);
  request.set_request_id("mine");
  ASSERT_TRUE(Connect().Train(request).ok());
  EXPECT_THAT(server_.state().train_attempts, ElementsAre("mine"));
}

TEST_F(ClientTest, EachTrainGetsItsOwnRequestId) {
  server_.AddModel("m");
  const Client client = Connect();
  ASSERT_TRUE(client.Train(OneRow(1, 2)).ok());
  ASSERT_TRUE(client.Train(OneRow(1, 2)).ok());
  EXPECT_EQ(server_.state().trained.size(), 2u);
}

TEST_F(ClientTest, TrainDoesNotRetryWhatWouldFailAgain) {
  server_.AddModel("m");
  server_.state().train_failures = {
      RichError(grpc::StatusCode::INVALID_ARGUMENT, "no", "WIDTH_MISMATCH")};
  EXPECT_EQ(Client::ReasonOf(Connect().Train(OneRow(1, 2)).status()), "WIDTH_MISMATCH");
  // A limit without a hint when to come back is not a matter of time.
  server_.state().train_failures = {
      RichError(grpc::StatusCode::RESOURCE_EXHAUSTED, "too large", "LIMIT_EXCEEDED")};
  EXPECT_EQ(Client::ReasonOf(Connect().Train(OneRow(1, 2)).status()), "LIMIT_EXCEEDED");
  EXPECT_EQ(server_.state().trained.size(), 0u);
}

TEST_F(ClientTest, TrainWithoutRetryTellsTheFirstError) {
  server_.AddModel("m");
  server_.state().train_failures = {
      RichError(grpc::StatusCode::UNAVAILABLE, "draining", "DRAINING")};
  EXPECT_EQ(Client::ReasonOf(Connect({.retry = false}).Train(OneRow(1, 2)).status()), "DRAINING");
}

TEST_F(ClientTest, TrainWaitsAsLongAsTheServerAsks) {
  server_.AddModel("m");
  server_.state().train_failures = {
      RichError(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full", "QUEUE_FULL", 200)};
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(Connect().Train(OneRow(1, 2)).ok());
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(200));
}

TEST_F(ClientTest, RetriesEndBeforeTheDeadline) {
  server_.Stop();
  const absl::Time begin = absl::Now();
  const absl::Status status =
      Connect().WithTimeout(absl::Milliseconds(300)).Train(OneRow(1, 2)).status();
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) << status;
  EXPECT_LT(absl::Now() - begin, absl::Seconds(20));  // without the deadline, about 30
}

TEST_F(ClientTest, TrainFindsTheServerThatComesBack) {
  server_.AddModel("m");
  const Client client = Connect();
  server_.Stop();
  std::thread restart([&] {
    absl::SleepFor(absl::Milliseconds(200));
    server_.Start();
  });
  EXPECT_TRUE(client.Train(OneRow(1, 2)).ok());
  restart.join();
}

TEST_F(ClientTest, TrainStreamAnswersInOrder) {
  server_.AddModel("m");
  std::vector<int64_t> steps;
  const auto stream =
      Connect().OpenTrainStream(4, [&](const v1::TrainRequest&, const v1::TrainResponse& response) {
        steps.push_back(response.step());
      });
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(stream->Write(OneRow(1, 2)).ok());
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_THAT(steps, SizeIs(100));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(steps[i], i + 1);
}

TEST_F(ClientTest, TrainStreamLeavesNoMoreThanItsWindowUnanswered) {
  server_.AddModel("m");
  int answered = 0;
  const auto stream = Connect().OpenTrainStream(
      3, [&](const v1::TrainRequest&, const v1::TrainResponse&) { ++answered; });
  for (int written = 1; written <= 20; ++written) {
    ASSERT_TRUE(stream->Write(OneRow(1, 2)).ok());
    EXPECT_LT(written - answered, 3);
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answered, 20);
}

TEST_F(ClientTest, ABrokenTrainStreamGoesOnWithoutTrainingTwice) {
  server_.AddModel("m");
  server_.state().stream_breaks = {5, 0, 7};
  std::vector<float> answered;
  const auto stream =
      Connect().OpenTrainStream(8, [&](const v1::TrainRequest& request, const v1::TrainResponse&) {
        answered.push_back(request.features().values(0));
      });
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(stream->Write(OneRow(i, 2)).ok());
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_THAT(answered, SizeIs(40));
  ASSERT_EQ(server_.state().trained.size(), 40u);
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(answered[i], i);
    EXPECT_EQ(server_.state().trained[i].features().values(0), i);
  }
  EXPECT_GT(server_.state().train_attempts.size(), 40u);
}

TEST_F(ClientTest, ARefusedMessageEndsTheTrainStreamWithItsStatus) {
  server_.AddModel("m");
  server_.state().train_failures = {
      grpc::Status::OK, grpc::Status::OK,
      RichError(grpc::StatusCode::INVALID_ARGUMENT, "features: bad", "NON_FINITE_VALUE")};
  int answered = 0;
  const auto stream = Connect().OpenTrainStream(
      4, [&](const v1::TrainRequest&, const v1::TrainResponse&) { ++answered; });
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = stream->Write(OneRow(1, 2));
  EXPECT_EQ(Client::ReasonOf(status), "NON_FINITE_VALUE");
  EXPECT_EQ(stream->Finish(), status);
  EXPECT_EQ(answered, 2);
}

TEST_F(ClientTest, AStreamLeftUnfinishedDoesNotHang) {
  server_.AddModel("m");
  const auto stream =
      Connect().OpenTrainStream(8, [](const v1::TrainRequest&, const v1::TrainResponse&) {});
  ASSERT_TRUE(stream->Write(OneRow(1, 2)).ok());
}

TEST_F(ClientTest, AStreamOfNothingIsFine) {
  const auto stream =
      Connect().OpenTrainStream(8, [](const v1::TrainRequest&, const v1::TrainResponse&) {});
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ClientTest, PredictStreamSurvivesAnswersLargerThanItsBuffers) {
  server_.AddModel("m").set_out_features(64);
  v1::PredictRequest request;
  request.set_model("m");
  request.mutable_features()->set_rows(8192);
  request.mutable_features()->set_columns(64);
  request.mutable_features()->mutable_values()->Resize(8192 * 64, 0.5f);
  int64_t rows = 0;
  const auto stream = Connect().OpenPredictStream(
      32, [&](const v1::PredictRequest&, const v1::PredictResponse& response) {
        rows += response.predictions().rows();
        EXPECT_EQ(response.predictions().values(0), 32);
      });
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(stream->Write(request).ok());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(rows, 40 * 8192);
}

TEST_F(ClientTest, EvaluateStreamSendsAllThatIsGiven) {
  server_.AddModel("m");
  int left = 5;
  const auto scores = Connect().EvaluateStream([&](v1::EvaluateRequest* request) {
    request->mutable_features()->set_rows(3);
    return left-- > 0;
  });
  ASSERT_TRUE(scores.ok());
  EXPECT_EQ(scores->rows(), 15);
}

TEST_F(ClientTest, EvaluateStreamEndsWithTheCallersError) {
  const auto scores = Connect().EvaluateStream(
      [](v1::EvaluateRequest*) -> absl::StatusOr<bool> { return absl::DataLossError("mine"); });
  EXPECT_EQ(scores.status(), absl::DataLossError("mine"));
}

TEST_F(ClientTest, WatchEndsWhenTheCallerHasSeenEnough) {
  server_.AddModel("m");
  v1::WatchModelRequest request;
  request.set_model("m");
  int seen = 0;
  EXPECT_TRUE(
      Connect().WatchModel(request, [&](const v1::ModelStatus&) { return ++seen < 3; }).ok());
  EXPECT_EQ(seen, 3);
  request.set_model("nobody");
  EXPECT_TRUE(
      absl::IsNotFound(Connect().WatchModel(request, [](const v1::ModelStatus&) { return true; })));
}

TEST_F(ClientTest, CheckAsksForTheHealthOfAService) {
  using Health = grpc::health::v1::HealthCheckResponse;
  EXPECT_EQ(Connect().Check("")->status(), Health::SERVING);
  server_.state().health = Health::NOT_SERVING;
  EXPECT_EQ(Connect().Check("readiness")->status(), Health::NOT_SERVING);
  EXPECT_TRUE(absl::IsNotFound(Connect().Check("nobody").status()));
}

}  // namespace
}  // namespace lazynorm
