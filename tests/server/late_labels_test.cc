// Labels that come later, over the socket: Predict remembers, Train names what it remembers.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

const ErrorDetails kUnknown = Error(StatusCode::NOT_FOUND, "UNKNOWN_PREDICTION_ID");

// "prefix0", "prefix1", ...
template <class Request>
void SetIds(const std::string& prefix, int rows, Request& request) {
  for (int i = 0; i < rows; ++i) request.add_prediction_ids(absl::StrCat(prefix, i));
}

// A question whose rows are those of RandomStep with the same numbers.
v1::PredictRequest Question(const std::string& model, const std::string& prefix, int rows,
                            uint64_t seed) {
  v1::PredictRequest request;
  request.set_model(model);
  *request.mutable_features() = RandomStep(model, rows, 3, seed).features();
  SetIds(prefix, rows, request);
  return request;
}

// Its labels.
v1::TrainRequest Labels(const std::string& model, const std::string& prefix, int rows,
                        uint64_t seed) {
  v1::TrainRequest request = RandomStep(model, rows, 3, seed);
  request.clear_features();
  SetIds(prefix, rows, request);
  return request;
}

double MeanSquare(const v1::Matrix& predictions, const v1::Matrix& targets) {
  double sum = 0;
  for (int i = 0; i < targets.values_size(); ++i) {
    const double error = static_cast<double>(predictions.values(i)) - targets.values(i);
    sum += error * error;
  }
  return sum / targets.values_size();
}

class LateLabelsTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    ASSERT_TRUE(client().Create("m", kSpec).ok());
  }
  void Train(int steps) {
    for (int i = 0; i < steps; ++i) {
      ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 100 + i)).ok());
    }
  }
  std::string Remembered() { return Metric("lazynorm_remembered_predictions{model=\"m\"}"); }

  static constexpr char kSpec[] = "mlp { hidden: 4 } seed: 5 optimizer { adam { lr: 0.05 } }";
};

TEST_F(LateLabelsTest, ThePrequentialLossIsOfThePredictionThatWasServed) {
  Train(3);
  const auto served = client().Predict(Question("m", "id", 5, 1));
  ASSERT_TRUE(served.ok()) << served.error();
  EXPECT_EQ(Remembered(), "5");
  Train(50);  // by now it would be predicted otherwise
  v1::PredictRequest again = Question("m", "id", 5, 1);
  again.clear_prediction_ids();
  const v1::TrainRequest labels = Labels("m", "id", 5, 1);
  const double then = MeanSquare(served->predictions(), labels.targets());
  const double now = MeanSquare(client().Predict(again)->predictions(), labels.targets());
  const auto answer = client().Train(labels);
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->step(), 54);
  EXPECT_NEAR(answer->prequential_loss(), then, 1e-5 * then);
  EXPECT_GT(std::abs(then - now), 1e-3 * then);
  EXPECT_EQ(Remembered(), "0");
}

TEST_F(LateLabelsTest, TheStepIsThatOfTheFeaturesThemselves) {
  ASSERT_TRUE(client().Create("other", kSpec).ok());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(client().Predict(Question("m", "id", 4, i)).ok());
    ASSERT_TRUE(client().Train(Labels("m", "id", 4, i)).ok());
    ASSERT_TRUE(client().Train(RandomStep("other", 4, 3, i)).ok());
  }
  EXPECT_EQ(client().State("m")->SerializeAsString(), client().State("other")->SerializeAsString());
}

TEST_F(LateLabelsTest, WhatIsRememberedIsRawWhateverWasAskedFor) {
  constexpr char kBinary[] = "mlp { hidden: 4 } loss { kind: LOSS_KIND_BCE_WITH_LOGITS }";
  ASSERT_TRUE(client().Create("bce", kBinary).ok());
  double losses[2] = {};
  for (const v1::Output output : {v1::OUTPUT_RAW, v1::OUTPUT_PROBABILITIES}) {
    v1::PredictRequest question = Question("bce", "id", 4, 1);
    question.set_output(output);
    ASSERT_TRUE(client().Predict(question).ok());
    v1::TrainRequest labels = Labels("bce", "id", 4, 1);
    labels.clear_targets();
    for (int i = 0; i < 4; ++i) labels.add_labels(i % 2);
    const auto answer = client().Train(labels);
    ASSERT_TRUE(answer.ok()) << answer.error();
    losses[output == v1::OUTPUT_RAW ? 0 : 1] = answer->prequential_loss();
    client().Delete("bce");
    client().Create("bce", kBinary);
  }
  EXPECT_EQ(losses[0], losses[1]);
}

TEST_F(LateLabelsTest, UnknownIdsAreNamedAndNothingIsTrained) {
  ASSERT_TRUE(client().Predict(Question("m", "id", 2, 1)).ok());
  const std::string before = client().State("m")->SerializeAsString();
  const ErrorDetails error = client().Train(Labels("m", "id", 4, 1)).error();
  EXPECT_EQ(error, kUnknown);
  EXPECT_EQ(error.message, "prediction_ids: unknown, expired or trained already: \"id2\", \"id3\"");
  EXPECT_EQ(client().State("m")->SerializeAsString(), before);
  EXPECT_EQ(client().Get("m")->step(), 0);
  EXPECT_EQ(Metric("lazynorm_train_rejected_total{model=\"m\",reason=\"UNKNOWN_PREDICTION_ID\"}"),
            "1");
  EXPECT_TRUE(client().Train(Labels("m", "id", 2, 1)).ok());
  EXPECT_EQ(client().Train(Labels("m", "id", 2, 1)).error(), kUnknown);  // trained already
  client().Create("lazy", kSpec);
  EXPECT_EQ(client().Train(Labels("lazy", "id", 2, 1)).error(), kUnknown);
  EXPECT_EQ(client().Get("lazy")->state(), v1::STATE_LAZY);
}

TEST_F(LateLabelsTest, BadIdsAreRefusedWithTheirFieldAndRememberNothing) {
  v1::PredictRequest question = Question("m", "id", 3, 1);
  question.add_prediction_ids("one too many");
  EXPECT_EQ(client().Predict(question).error(), Invalid("SHAPE_MISMATCH", "prediction_ids"));
  question = Question("m", "id", 3, 1);
  question.set_prediction_ids(2, "id0");
  EXPECT_EQ(client().Predict(question).error(), Invalid("SHAPE_MISMATCH", "prediction_ids[2]"));
  question.set_prediction_ids(2, "");
  EXPECT_EQ(client().Predict(question).error(), Invalid("LIMIT_EXCEEDED", "prediction_ids[2]"));
  EXPECT_EQ(client().Get("m")->state(), v1::STATE_LAZY);
  v1::TrainRequest labels = Labels("m", "id", 3, 1);
  *labels.mutable_features() = RandomMatrix(3, 3, 1);
  EXPECT_EQ(client().Train(labels).error(), Invalid("SHAPE_MISMATCH", "features"));
  EXPECT_EQ(Remembered(), "0");
}

TEST_F(LateLabelsTest, ARepeatedRequestIsAnsweredThoughItsIdsAreForgotten) {
  ASSERT_TRUE(client().Predict(Question("m", "id", 4, 1)).ok());
  ASSERT_TRUE(client().Predict(Question("m", "other", 4, 1)).ok());
  v1::TrainRequest labels = Labels("m", "id", 4, 1);
  labels.set_request_id("r");
  const auto first = client().Train(labels);
  ASSERT_TRUE(first.ok()) << first.error();
  const auto again = client().Train(labels);
  ASSERT_TRUE(again.ok()) << again.error();
  EXPECT_TRUE(again->replayed());
  EXPECT_EQ(again->prequential_loss(), first->prequential_loss());
  v1::TrainRequest other = Labels("m", "other", 4, 1);
  other.set_request_id("r");
  EXPECT_EQ(client().Train(other).error(), Invalid("REQUEST_ID_REUSED", "request_id"));
  EXPECT_EQ(Remembered(), "4");
}

TEST_F(LateLabelsTest, StreamsRememberAndTrainLikeUnaryCalls) {
  constexpr int kMessages = 40;
  grpc::ClientContext asking, telling;
  auto questions = client().prediction->PredictStream(&asking);
  std::thread writer([&] {
    for (int i = 0; i < kMessages; ++i) {
      EXPECT_TRUE(questions->Write(Question("m", absl::StrCat(i, "-"), 4, i)));
    }
    questions->WritesDone();
  });
  v1::PredictResponse answer;
  int answered = 0;
  while (questions->Read(&answer)) ++answered;
  writer.join();
  EXPECT_EQ(answered, kMessages);
  EXPECT_TRUE(questions->Finish().ok());
  EXPECT_EQ(Remembered(), absl::StrCat(4 * kMessages));
  auto labels = client().training->TrainStream(&telling);
  for (int i = 0; i < kMessages; ++i) labels->Write(Labels("m", absl::StrCat(i, "-"), 4, i));
  labels->Write(Labels("m", "nobody", 4, 1));
  labels->WritesDone();
  v1::TrainResponse step;
  int trained = 0;
  while (labels->Read(&step)) EXPECT_EQ(step.step(), ++trained);
  EXPECT_EQ(trained, kMessages);
  EXPECT_EQ(DetailsOf(labels->Finish()), kUnknown);
  EXPECT_EQ(Remembered(), "0");
}

TEST_F(LateLabelsTest, MemoryIsBoundedAndTheOldestGoFirst) {
  Options options = TestOptions();
  options.max_remembered_predictions = 6;
  Start(options);
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (const char* prefix : {"a", "b"}) {
    ASSERT_TRUE(client().Predict(Question("m", prefix, 4, 1)).ok());
  }
  EXPECT_EQ(Remembered(), "6");
  const ErrorDetails error = client().Train(Labels("m", "a", 4, 1)).error();
  EXPECT_EQ(error.message, "prediction_ids: unknown, expired or trained already: \"a0\", \"a1\"");
  EXPECT_TRUE(client().Train(Labels("m", "b", 4, 1)).ok());
  EXPECT_EQ(client().Predict(Question("m", "c", 7, 1)).error(),
            Invalid("LIMIT_EXCEEDED", "prediction_ids"));
}

TEST_F(LateLabelsTest, LabelsThatComeTooLateAreRefused) {
  Options options = TestOptions();
  options.remember_predictions_for = absl::Microseconds(1);
  Start(options);
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  ASSERT_TRUE(client().Predict(Question("m", "id", 4, 1)).ok());
  EXPECT_EQ(client().Train(Labels("m", "id", 4, 1)).error(), kUnknown);
}

TEST_F(LateLabelsTest, AWatchTellsHowManyWait) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  const auto watch = client().models->WatchModel(
      &context, Parse<v1::WatchModelRequest>("model: 'm' min_interval { nanos: 10000000 }"));
  v1::ModelStatus status;
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.remembered_predictions(), 0);
  ASSERT_TRUE(client().Predict(Question("m", "id", 4, 1)).ok());
  while (status.remembered_predictions() == 0 && watch->Read(&status)) {
  }
  EXPECT_EQ(status.remembered_predictions(), 4);
  context.TryCancel();
}

TEST_F(LateLabelsTest, AFullQueueRefusesToRememberAndPredictsOnWithoutIds) {
  Options options = TestOptions();
  options.max_queued_steps = 1;
  Start(options);
  ASSERT_TRUE(client().Create("slow", "mlp { hidden: 128 hidden: 128 } in_features: 3").ok());
  std::atomic<bool> stop = false;
  std::vector<std::thread> trainers;
  for (int t = 0; t < 4; ++t) {
    trainers.emplace_back([&] {
      Connection connection(port());
      const v1::TrainRequest step = RandomStep("slow", 512, 3, 1);
      while (!stop) connection.Train(step);
    });
  }
  ErrorDetails error;
  EXPECT_TRUE(Soon([&] {
    error = client().Predict(Question("slow", "id", 2, 1)).error();
    return error.code != StatusCode::OK;
  }));
  EXPECT_TRUE(client().Predict(RandomQuery("slow", 2, 3, 1)).ok());
  stop = true;
  for (std::thread& trainer : trainers) trainer.join();
  EXPECT_EQ(error, Error(StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL"));
  EXPECT_GT(error.retry_after, absl::ZeroDuration());
}

TEST_F(LateLabelsTest, ManyAskAndTellBesideATrainer) {
  constexpr int kCallers = 4, kRounds = 25;
  std::vector<std::thread> callers;
  for (int t = 0; t < kCallers; ++t) {
    callers.emplace_back([&, t] {
      Connection connection(port());
      for (int i = 0; i < kRounds; ++i) {
        const std::string prefix = absl::StrCat(t, "-", i, "-");
        const auto served = connection.Predict(Question("m", prefix, 4, i));
        ASSERT_TRUE(served.ok()) << served.error();
        const v1::TrainRequest labels = Labels("m", prefix, 4, i);
        const auto answer = connection.Train(labels);
        ASSERT_TRUE(answer.ok()) << answer.error();
        const double then = MeanSquare(served->predictions(), labels.targets());
        EXPECT_NEAR(answer->prequential_loss(), then, 1e-5 * then);
        EXPECT_GT(answer->step(), served->step());
      }
    });
  }
  Train(kRounds);
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(client().Get("m")->step(), kRounds * (kCallers + 1));
  EXPECT_EQ(Remembered(), "0");
  EXPECT_EQ(Metric("lazynorm_rows_predicted_total{model=\"m\"}"),
            absl::StrCat(4 * kRounds * kCallers));
}

}  // namespace
}  // namespace lazynorm
