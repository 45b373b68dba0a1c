#include "server/rpc/training_service.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/server_fixture.h"
#include "tests/support/train_streaming.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

const ErrorDetails kNotFound = Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND");

std::vector<int64_t> UpTo(int64_t last) {
  std::vector<int64_t> numbers;
  for (int64_t i = 1; i <= last; ++i) numbers.push_back(i);
  return numbers;
}

class TrainingServiceTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    ASSERT_TRUE(client().Create("m", kSpec).ok());
  }
  // All that can be asked about a model, but for when it was asked.
  std::string Everything(const std::string& id = "m") {
    return client().State(id)->SerializeAsString() + client().Get(id)->SerializeAsString();
  }
  // The error of a good step with something changed, which must leave no trace.
  ErrorDetails ErrorWith(const std::function<void(v1::TrainRequest&)>& change) {
    v1::TrainRequest request = RandomStep("m", 4, 3, 1);
    change(request);
    const std::string before = Everything();
    const ErrorDetails error = client().Train(request).error();
    EXPECT_EQ(Everything(), before);
    return error;
  }
  // Every bad input there is; the model has 3 features and one output.
  void ExpectEveryBadInputRefused();

  static constexpr char kSpec[] = "mlp { hidden: 4 } seed: 5";
};

TEST_F(TrainingServiceTest, AStepAnswersWithItsNumberAndBothLosses) {
  const v1::TrainRequest request = RandomStep("m", 8, 3, 1);
  const auto first = client().Train(request);
  ASSERT_TRUE(first.ok()) << first.error();
  EXPECT_EQ(first->step(), 1);
  EXPECT_GT(first->loss(), 0);
  EXPECT_GT(first->prequential_loss(), 0);
  EXPECT_FALSE(first->replayed());
  // The prequential loss is what Evaluate would have said.
  const double before = client().Evaluate(AsEvaluation(request))->loss();
  const auto second = client().Train(request);
  EXPECT_EQ(second->step(), 2);
  EXPECT_NEAR(second->prequential_loss(), before, 1e-5 * before);
  EXPECT_EQ(client().Get("m")->rows_trained(), 16);
}

TEST_F(TrainingServiceTest, LearningLowersTheLoss) {
  ASSERT_TRUE(client().Create("fast", "mlp {} optimizer { sgd { lr: 0.1 } }").ok());
  const double first = client().Train(RandomStep("fast", 32, 3, 0))->loss();
  for (int i = 1; i < 50; ++i) ASSERT_TRUE(client().Train(RandomStep("fast", 32, 3, i)).ok());
  EXPECT_LT(client().Train(RandomStep("fast", 32, 3, 50))->loss(), 0.1 * first);
}

void TrainingServiceTest::ExpectEveryBadInputRefused() {
  using Request = v1::TrainRequest;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ErrorWith([](Request& r) { r.mutable_features()->set_values(7, NAN); }),
            Invalid("NON_FINITE_VALUE", "features.values[7]"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.mutable_features()->set_values(0, -kInf); }),
            Invalid("NON_FINITE_VALUE", "features.values[0]"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.mutable_targets()->set_values(3, kInf); }),
            Invalid("NON_FINITE_VALUE", "targets.values[3]"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.clear_features(); }), Invalid("EMPTY_BATCH", "features"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.mutable_features()->set_rows(5); }),
            Invalid("SHAPE_MISMATCH", "features.values"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.mutable_features()->set_rows(-4); }),
            Invalid("SHAPE_MISMATCH", "features.values"));
  EXPECT_EQ(ErrorWith([](Request& r) { *r.mutable_targets() = RandomMatrix(3, 1, 1); }),
            Invalid("SHAPE_MISMATCH", "targets"));
  EXPECT_EQ(ErrorWith([](Request& r) { *r.mutable_targets() = RandomMatrix(4, 2, 1); }),
            Invalid("SHAPE_MISMATCH", "targets"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.clear_targets(); }),
            Invalid("TARGET_MISMATCH", "targets"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.add_labels(1); }), Invalid("TARGET_MISMATCH", "labels"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.add_sample_weights(1); }),
            Invalid("INVALID_WEIGHTS", "sample_weights"));
  const auto weights = [](std::vector<float> values) {
    return
        [values](Request& r) { r.mutable_sample_weights()->Assign(values.begin(), values.end()); };
  };
  EXPECT_EQ(ErrorWith(weights({1, 1, -1, 1})), Invalid("INVALID_WEIGHTS", "sample_weights[2]"));
  EXPECT_EQ(ErrorWith(weights({1, NAN, 1, 1})), Invalid("INVALID_WEIGHTS", "sample_weights[1]"));
  EXPECT_EQ(ErrorWith(weights({0, 0, 0, 0})), Invalid("INVALID_WEIGHTS", "sample_weights"));
  EXPECT_EQ(ErrorWith([](Request& r) { r = RandomStep("m", 1, 3, 1); }),
            Invalid("TOO_FEW_ROWS", "features"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.set_request_id(std::string(129, 'x')); }),
            Invalid("LIMIT_EXCEEDED", "request_id"));
  EXPECT_EQ(ErrorWith([](Request& r) { r.set_statistics(static_cast<v1::StatisticsMode>(9)); }),
            Invalid("INVALID_UPDATE", "statistics"));
  // Prometheus is told each by its own reason.
  EXPECT_EQ(Metric("lazynorm_train_rejected_total{model=\"m\",reason=\"INTERNAL\"}"), "");
  EXPECT_NE(Metric("lazynorm_train_rejected_total{model=\"m\",reason=\"INVALID_UPDATE\"}"), "");
}

TEST_F(TrainingServiceTest, EveryBadInputIsRefusedByALazyModelAndLeavesItLazy) {
  ExpectEveryBadInputRefused();
  EXPECT_EQ(client().Get("m")->state(), v1::STATE_LAZY);
}

TEST_F(TrainingServiceTest, EveryBadInputIsRefusedByATrainedModelAndChangesNothing) {
  ASSERT_TRUE(client().Train(RandomStep("m", 4, 3, 1)).ok());
  ExpectEveryBadInputRefused();
  EXPECT_EQ(ErrorWith([](v1::TrainRequest& r) { r = RandomStep("m", 4, 2, 1); }),
            Invalid("WIDTH_MISMATCH", "features"));
  EXPECT_EQ(client().Train(RandomStep("m", 4, 2, 1)).error().message,
            "features: expected 3 columns, got 2");
  EXPECT_EQ(client().Train(RandomStep("m", 4, 3, 1))->step(), 2);
}

TEST_F(TrainingServiceTest, LabelsAreCheckedAgainstTheClasses) {
  client().Create("ce", "mlp { out_features: 3 } loss { kind: LOSS_KIND_CROSS_ENTROPY }");
  client().Create("bce", "mlp {} loss { kind: LOSS_KIND_BCE_WITH_LOGITS }");
  const auto train = [&](const std::string& model, const std::string& text) {
    auto request =
        Parse<v1::TrainRequest>(text + " features { rows: 2 columns: 1 values: 1 values: 2 }");
    request.set_model(model);
    return client().Train(request);
  };
  EXPECT_EQ(train("ce", "labels: 0 labels: 3").error(), Invalid("LABEL_OUT_OF_RANGE", "labels[1]"));
  EXPECT_EQ(train("ce", "labels: -1 labels: 0").error(),
            Invalid("LABEL_OUT_OF_RANGE", "labels[0]"));
  EXPECT_EQ(train("ce", "labels: 0").error(), Invalid("SHAPE_MISMATCH", "labels"));
  EXPECT_EQ(train("ce", "targets { rows: 2 columns: 1 values: 0 values: 1 }").error(),
            Invalid("TARGET_MISMATCH", "labels"));
  EXPECT_EQ(train("bce", "labels: 0 labels: 2").error(),
            Invalid("LABEL_OUT_OF_RANGE", "labels[1]"));
  EXPECT_EQ(train("bce", "targets { rows: 2 columns: 1 values: 0 values: 1.5 }").error(),
            Invalid("TARGET_MISMATCH", "targets.values[1]"));
  EXPECT_TRUE(train("ce", "labels: 0 labels: 2").ok());
  EXPECT_TRUE(train("bce", "labels: 0 labels: 1").ok());
  EXPECT_TRUE(train("bce", "targets { rows: 2 columns: 1 values: 0 values: 1 }").ok());
}

TEST_F(TrainingServiceTest, RowsAndWidthsHaveALimit) {
  Options options = TestOptions();
  options.max_rows_per_request = 4;
  options.max_width = 3;
  options.max_parameters = 20;
  Start(options);
  client().Create("m", "mlp { out_features: 1 }");
  EXPECT_EQ(client().Train(RandomStep("m", 5, 1, 1)).error(),
            Invalid("LIMIT_EXCEEDED", "features.rows"));
  EXPECT_EQ(client().Train(RandomStep("m", 1, 4, 1)).error(),
            Invalid("LIMIT_EXCEEDED", "features.columns"));
  EXPECT_TRUE(client().Train(RandomStep("m", 4, 3, 1)).ok());
}

TEST_F(TrainingServiceTest, TheMemoryOfAStepHasALimit) {
  Options options = TestOptions();
  options.max_step_bytes = 8 * 10 * (3 + 5 + 5 + 1);  // ten rows of what goes in and comes out
  Start(options);
  const std::string layers =
      "layers { linear { out_features: 5 } } layers { activation { kind: ACTIVATION_KIND_RELU } } "
      "layers { linear { out_features: 1 } } ";
  client().Create("m", layers);
  client().Create("replays", layers + "learning { replay { capacity: 10 rows_per_step: 4 } }");
  const auto refused = Invalid("LIMIT_EXCEEDED", "features");
  EXPECT_EQ(client().Train(RandomStep("m", 11, 3, 1)).error(), refused);
  EXPECT_EQ(client().Get("m")->state(), v1::State::STATE_LAZY) << "what is refused changes nothing";
  EXPECT_TRUE(client().Train(RandomStep("m", 10, 3, 1)).ok());
  EXPECT_EQ(client().Train(RandomStep("replays", 7, 3, 1)).error(), refused);
  EXPECT_TRUE(client().Train(RandomStep("replays", 6, 3, 1)).ok());
}

TEST_F(TrainingServiceTest, AnUnknownModelIsNotFound) {
  EXPECT_EQ(client().Train(RandomStep("nobody", 4, 3, 1)).error(), kNotFound);
}

TEST_F(TrainingServiceTest, ARequestIdSeenBeforeAnswersAgainAndTrainsNothing) {
  v1::TrainRequest request = RandomStep("m", 4, 3, 1);
  request.set_request_id(std::string(128, 'x'));
  const auto first = client().Train(request);
  ASSERT_TRUE(first.ok()) << first.error();
  ASSERT_TRUE(client().Train(RandomStep("m", 4, 3, 2)).ok());
  const std::string before = Everything();
  const auto again = client().Train(request);
  ASSERT_TRUE(again.ok()) << again.error();
  EXPECT_TRUE(again->replayed());
  EXPECT_EQ(again->step(), 1);
  EXPECT_EQ(again->loss(), first->loss());
  EXPECT_EQ(again->prequential_loss(), first->prequential_loss());
  EXPECT_EQ(Everything(), before);
}

TEST_F(TrainingServiceTest, ARequestIdWithAnotherPayloadIsRefused) {
  v1::TrainRequest request = RandomStep("m", 4, 3, 1);
  request.set_request_id("id");
  ASSERT_TRUE(client().Train(request).ok());
  const ErrorDetails reused = Invalid("REQUEST_ID_REUSED", "request_id");
  const auto with_id = [](v1::TrainRequest& r) { r.set_request_id("id"); };
  EXPECT_EQ(ErrorWith([&](v1::TrainRequest& r) {
              with_id(r);
              r.mutable_targets()->set_values(0, 1234);
            }),
            reused);
  EXPECT_EQ(ErrorWith([&](v1::TrainRequest& r) {
              with_id(r);
              r.set_statistics(v1::STATISTICS_MODE_FREEZE);
            }),
            reused);
  EXPECT_EQ(ErrorWith([&](v1::TrainRequest& r) {
              with_id(r);
              for (int i = 0; i < 4; ++i) r.add_sample_weights(2);
            }),
            reused);
}

TEST_F(TrainingServiceTest, ARequestIdBelongsToItsModelAndGoesWithIt) {
  client().Create("other", kSpec);
  v1::TrainRequest request = RandomStep("m", 4, 3, 1);
  request.set_request_id("id");
  ASSERT_TRUE(client().Train(request).ok());
  request.set_model("other");
  EXPECT_FALSE(client().Train(request)->replayed());
  client().Delete("other");
  client().Create("other", kSpec);
  EXPECT_FALSE(client().Train(request)->replayed());
}

TEST_F(TrainingServiceTest, ARefusedRequestDoesNotUseUpItsId) {
  v1::TrainRequest request = RandomStep("m", 1, 3, 1);
  request.set_request_id("id");
  EXPECT_EQ(client().Train(request).error().reason, "TOO_FEW_ROWS");
  v1::TrainRequest good = RandomStep("m", 4, 3, 1);
  good.set_request_id("id");
  const auto answer = client().Train(good);
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_FALSE(answer->replayed());
}

TEST_F(TrainingServiceTest, ANonFiniteStepIsAbortedAndLeavesEveryByte) {
  client().Create("plain", "mlp {} optimizer { sgd { lr: 1 } }");
  v1::TrainRequest huge = RandomStep("plain", 4, 3, 1);
  for (float& v : *huge.mutable_features()->mutable_values()) v *= 3e37f;
  huge.set_request_id("id");
  const ErrorDetails aborted = Error(StatusCode::ABORTED, "NON_FINITE_STEP");
  // While lazy: it stays lazy.
  EXPECT_EQ(client().Train(huge).error(), aborted);
  EXPECT_EQ(client().Get("plain")->state(), v1::STATE_LAZY);
  ASSERT_TRUE(client().Train(RandomStep("plain", 4, 2, 1)).ok());
  client().Delete("plain");
  // While trained: nothing changes, and its id is not used up.
  client().Create("plain", "mlp {} optimizer { sgd { lr: 1 } }");
  ASSERT_TRUE(client().Train(RandomStep("plain", 4, 3, 1)).ok());
  const std::string before = Everything("plain");
  EXPECT_EQ(client().Train(huge).error(), aborted);
  EXPECT_EQ(Everything("plain"), before);
  v1::TrainRequest good = RandomStep("plain", 4, 3, 2);
  good.set_request_id("id");
  const auto next = client().Train(good);
  ASSERT_TRUE(next.ok()) << next.error();
  EXPECT_EQ(next->step(), 2);
}

TEST_F(TrainingServiceTest, AStreamAnswersInOrder) {
  TrainStreaming s(client());
  constexpr int kMany = 200;  // more than the window of messages in work
  std::thread writer([&] {
    for (int i = 0; i < kMany; ++i) EXPECT_TRUE(s.stream->Write(RandomStep("m", 4, 3, i)));
    s.stream->WritesDone();
  });
  const std::vector<int64_t> steps = s.ReadAll();
  writer.join();
  EXPECT_EQ(steps, UpTo(kMany));
  EXPECT_EQ(s.Finish().code, StatusCode::OK);
}

TEST_F(TrainingServiceTest, AStreamLearnsWhatUnaryCallsLearn) {
  client().Create("other", kSpec);
  TrainStreaming s(client());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(s.stream->Write(RandomStep("m", 4, 3, i)));
    ASSERT_TRUE(client().Train(RandomStep("other", 4, 3, i)).ok());
  }
  s.stream->WritesDone();
  EXPECT_EQ(s.ReadAll().size(), 20u);
  EXPECT_EQ(client().State("m")->SerializeAsString(), client().State("other")->SerializeAsString());
}

TEST_F(TrainingServiceTest, BeforeABadMessageAllIsAnsweredAndBehindItNothingIsTrained) {
  const auto bad_messages = {RandomStep("m", 4, 2, 9),       // refused by the model
                             v1::TrainRequest(),             // of no model
                             RandomStep("nobody", 4, 3, 9),  // not found
                             [] {                            // refused at the door
                               v1::TrainRequest r = RandomStep("m", 4, 3, 9);
                               r.mutable_features()->set_values(0, NAN);
                               return r;
                             }()};
  const std::vector<ErrorDetails> errors = {Invalid("WIDTH_MISMATCH", "features"), kNotFound,
                                            kNotFound,
                                            Invalid("NON_FINITE_VALUE", "features.values[0]")};
  int64_t step = 0;
  size_t which = 0;
  for (const v1::TrainRequest& bad : bad_messages) {
    TrainStreaming s(client());
    for (int i = 0; i < 5; ++i) s.stream->Write(RandomStep("m", 4, 3, i));
    s.stream->Write(bad);
    for (int i = 0; i < 5; ++i) s.stream->Write(RandomStep("m", 4, 3, i));
    s.stream->WritesDone();
    const std::vector<int64_t> steps = s.ReadAll();
    ASSERT_EQ(steps.size(), 5u) << which;
    EXPECT_EQ(s.Finish(), errors[which]);
    step += 5;
    EXPECT_EQ(steps.back(), step);
    EXPECT_EQ(client().Train(RandomStep("m", 4, 3, 0))->step(), ++step);
    ++which;
  }
  // What stood behind the bad ones counts as refused nowhere.
  EXPECT_EQ(Metric("lazynorm_train_rejected_total{model=\"m\",reason=\"INTERNAL\"}"), "");
  EXPECT_EQ(Metric("lazynorm_train_rejected_total{model=\"m\",reason=\"WIDTH_MISMATCH\"}"), "1");
}

TEST_F(TrainingServiceTest, AStreamMayMixModels) {
  client().Create("other", kSpec);
  TrainStreaming s(client());
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(s.stream->Write(RandomStep(i % 3 == 0 ? "other" : "m", 4, 3, i)));
  }
  s.stream->WritesDone();
  std::vector<int64_t> expected;
  for (int i = 0, other = 0, m = 0; i < 30; ++i) expected.push_back(i % 3 == 0 ? ++other : ++m);
  EXPECT_EQ(s.ReadAll(), expected);
  EXPECT_EQ(s.Finish().code, StatusCode::OK);
  EXPECT_EQ(client().Get("m")->step(), 20);
  EXPECT_EQ(client().Get("other")->step(), 10);
}

TEST_F(TrainingServiceTest, AnEmptyStreamEndsWell) {
  TrainStreaming s(client());
  s.stream->WritesDone();
  EXPECT_TRUE(s.ReadAll().empty());
  EXPECT_EQ(s.Finish().code, StatusCode::OK);
}

// Steps of about 10 ms, far slower than messages are read.
constexpr char kSlow[] = "mlp { hidden: 128 hidden: 128 }";
v1::TrainRequest SlowStep(uint64_t seed) {
  return RandomStep("slow", 512, 64, seed);
}

TEST_F(TrainingServiceTest, AFullQueueRefusesAtOnceWithARetryHint) {
  Options options = TestOptions();
  options.max_queued_steps = 2;
  Start(options);
  ASSERT_TRUE(client().Create("slow", kSlow).ok());
  struct Pending {
    grpc::ClientContext context;
    v1::TrainResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::TrainResponse>> reader;
  };
  constexpr int kCalls = 16;
  std::vector<Pending> calls(kCalls);
  grpc::CompletionQueue queue;
  const v1::TrainRequest request = SlowStep(1);
  for (Pending& call : calls) {
    call.reader = client().training->AsyncTrain(&call.context, request, &queue);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  int refused = 0, trained = 0, refused_before_the_last = 0;
  for (int i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    const grpc::Status& status = static_cast<Pending*>(tag)->status;
    if (status.ok()) {
      ++trained;
      refused_before_the_last = refused;
      continue;
    }
    ++refused;
    const ErrorDetails error = DetailsOf(status);
    EXPECT_EQ(error, Error(StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL"));
    EXPECT_GT(error.retry_after, absl::ZeroDuration());
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(2 * refused_before_the_last, refused);  // they did not wait for the work before them
  EXPECT_EQ(client().Get("slow")->step(), trained);
  EXPECT_EQ(client().Train(SlowStep(2))->step(), trained + 1);
}

TEST_F(TrainingServiceTest, AStreamThatFillsTheQueueEndsAfterItsAnswers) {
  Options options = TestOptions();
  options.max_queued_steps = 2;
  Start(options);
  ASSERT_TRUE(client().Create("slow", kSlow).ok());
  TrainStreaming s(client());
  const v1::TrainRequest request = SlowStep(1);
  for (int i = 0; i < 2000 && s.stream->Write(request); ++i) {  // some 20, unless reading is slow
  }
  const std::vector<int64_t> steps = s.ReadAll();
  EXPECT_EQ(s.Finish(), Error(StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL"));
  EXPECT_EQ(steps, UpTo(static_cast<int64_t>(steps.size())));
  EXPECT_EQ(client().Get("slow")->step(), static_cast<int64_t>(steps.size()));
}

TEST_F(TrainingServiceTest, DeletingAModelAnswersItsQueuedSteps) {
  ASSERT_TRUE(client().Create("slow", kSlow).ok());
  TrainStreaming s(client());
  const v1::TrainRequest request = SlowStep(1);
  // More than can be trained: some are queued whenever the model goes.
  std::thread writer([&] {
    while (s.stream->Write(request)) {
    }
  });
  v1::TrainResponse response;
  EXPECT_TRUE(s.stream->Read(&response));
  EXPECT_TRUE(client().Delete("slow").ok());
  s.ReadAll();
  writer.join();
  EXPECT_EQ(s.Finish(), kNotFound);
}

}  // namespace
}  // namespace lazynorm
