#include "server/rpc/prediction_service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

const ErrorDetails kNotFound = Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND");

class PredictionServiceTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    ASSERT_TRUE(client().Create("m", "mlp { hidden: 4 } seed: 5").ok());
  }
  void Train(int steps, const std::string& model = "m", int columns = 3) {
    for (int i = 0; i < steps; ++i) {
      ASSERT_TRUE(client().Train(RandomStep(model, 8, columns, i)).ok());
    }
  }
  ErrorDetails PredictError(const v1::PredictRequest& request) {
    return client().Predict(request).error();
  }
  // A Predict that waits for a step, on its way.
  std::future<Answer<v1::PredictResponse>> PredictAtStep(int64_t step) {
    v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
    request.set_min_step(step);
    return std::async(std::launch::async, [this, request] { return client().Predict(request); });
  }
};

TEST_F(PredictionServiceTest, APredictionSaysTheStepThatMadeIt) {
  Train(3);
  const auto answer = client().Predict(RandomQuery("m", 5, 3, 1));
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->step(), 3);
  EXPECT_EQ(answer->predictions().rows(), 5);
  EXPECT_EQ(answer->predictions().columns(), 1);
  EXPECT_EQ(answer->predictions().values_size(), 5);
}

TEST_F(PredictionServiceTest, ARowIsPredictedAlikeAloneAndAmongOthers) {
  Train(3);
  const auto all = client().Predict(RandomQuery("m", 7, 3, 1));
  for (int i = 0; i < 7; ++i) {
    v1::PredictRequest one;
    one.set_model("m");
    *one.mutable_features() = RandomMatrix(7, 3, 1);
    auto* values = one.mutable_features()->mutable_values();
    values->ExtractSubrange(3 * (i + 1), 3 * (6 - i), nullptr);
    values->ExtractSubrange(0, 3 * i, nullptr);
    one.mutable_features()->set_rows(1);
    EXPECT_EQ(client().Predict(one)->predictions().values(0), all->predictions().values(i));
  }
}

TEST_F(PredictionServiceTest, BadFeaturesAreRefusedWithTheirField) {
  Train(1);
  EXPECT_EQ(PredictError(RandomQuery("m", 2, 4, 1)), Invalid("WIDTH_MISMATCH", "features"));
  EXPECT_EQ(PredictError(RandomQuery("m", 0, 3, 1)), Invalid("EMPTY_BATCH", "features"));
  v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
  request.mutable_features()->set_values(4, NAN);
  EXPECT_EQ(PredictError(request), Invalid("NON_FINITE_VALUE", "features.values[4]"));
  request.mutable_features()->set_columns(2);
  EXPECT_EQ(PredictError(request), Invalid("SHAPE_MISMATCH", "features.values"));
  EXPECT_EQ(PredictError(RandomQuery("nobody", 2, 3, 1)), kNotFound);
  request = RandomQuery("m", 2, 3, 1);
  request.set_output(static_cast<v1::Output>(7));
  EXPECT_EQ(PredictError(request).field, "output");
}

TEST_F(PredictionServiceTest, ProbabilitiesAreThoseOfTheLoss) {
  client().Create("ce", "mlp { out_features: 3 } loss { kind: LOSS_KIND_CROSS_ENTROPY }");
  client().Create("bce", "mlp {} loss { kind: LOSS_KIND_BCE_WITH_LOGITS }");
  for (const char* model : {"ce", "bce"}) {
    v1::PredictRequest request = RandomQuery(model, 4, 3, 1);
    const auto raw = client().Predict(request);
    request.set_output(v1::OUTPUT_RAW);
    EXPECT_EQ(client().Predict(request)->SerializeAsString(), raw->SerializeAsString());
    request.set_output(v1::OUTPUT_PROBABILITIES);
    const auto answer = client().Predict(request);
    ASSERT_TRUE(answer.ok()) << answer.error();
    const int outputs = answer->predictions().columns();
    for (int i = 0; i < 4; ++i) {
      double sum = 0;
      for (int c = 0; c < outputs; ++c) sum += std::exp(raw->predictions().values(i * outputs + c));
      for (int c = 0; c < outputs; ++c) {
        const double z = raw->predictions().values(i * outputs + c);
        const double p = outputs == 1 ? 1 / (1 + std::exp(-z)) : std::exp(z) / sum;
        EXPECT_NEAR(answer->predictions().values(i * outputs + c), p, 1e-6);
      }
    }
  }
  v1::PredictRequest request = RandomQuery("m", 4, 3, 1);
  request.set_output(v1::OUTPUT_PROBABILITIES);
  EXPECT_EQ(PredictError(request), Invalid("TARGET_MISMATCH", "output"));
}

TEST_F(PredictionServiceTest, ALargePredictionIsTheSameRowByRow) {
  // Large enough to leave the polling thread, and to be spread over others.
  constexpr int kRows = 2001, kSome = 37;
  client().Create("wide", "mlp { hidden: 256 } in_features: 64");
  const v1::PredictRequest whole = RandomQuery("wide", kRows, 64, 1);
  const auto all = client().Predict(whole);
  ASSERT_TRUE(all.ok()) << all.error();
  ASSERT_EQ(all->predictions().values_size(), kRows);
  for (int first = 0; first < kRows; first += kSome) {
    v1::PredictRequest few = RandomQuery("wide", std::min(kSome, kRows - first), 64, 1);
    for (int i = 0; i < few.features().values_size(); ++i) {
      few.mutable_features()->set_values(i, whole.features().values(first * 64 + i));
    }
    const auto some = client().Predict(few);
    for (int i = 0; i < few.features().rows(); ++i) {
      ASSERT_EQ(some->predictions().values(i), all->predictions().values(first + i));
    }
  }
}

TEST_F(PredictionServiceTest, LargePredictionsBeyondWhatMayWaitAreRefusedAtOnce) {
  Options options = TestOptions();
  options.max_message_bytes = 16 << 10;  // so that five of the requests below may wait
  options.compute_threads = 1;
  Start(options);
  client().Create("wide", "mlp { hidden: 1024 hidden: 1024 } in_features: 3");
  const v1::PredictRequest request = RandomQuery("wide", 1000, 3, 1);
  // As often as it takes until six of twelve are there at once.
  EXPECT_TRUE(Soon([&] {
    std::vector<std::future<Answer<v1::PredictResponse>>> calls;
    for (int i = 0; i < 12; ++i) {
      calls.push_back(std::async(std::launch::async, [&] { return client().Predict(request); }));
    }
    int answered = 0, refused = 0;
    for (auto& call : calls) {
      const auto answer = call.get();
      answer.ok() ? ++answered : ++refused;
      if (!answer.ok()) {
        EXPECT_EQ(answer.error(), Error(StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL"));
      }
    }
    EXPECT_GE(answered, 5);
    return refused >= 1;
  }));
  EXPECT_TRUE(client().Predict(request).ok());
}

TEST_F(PredictionServiceTest, EachKindOfRequestResolvesALazyModel) {
  for (const char* id : {"p", "e", "t", "ps", "es"}) client().Create(id, "mlp { hidden: 4 }");
  ASSERT_TRUE(client().Predict(RandomQuery("p", 2, 3, 1)).ok());
  ASSERT_TRUE(client().Evaluate(AsEvaluation(RandomStep("e", 2, 3, 1))).ok());
  ASSERT_TRUE(client().Train(RandomStep("t", 2, 3, 1)).ok());
  {
    grpc::ClientContext context;
    auto stream = client().prediction->PredictStream(&context);
    v1::PredictResponse response;
    ASSERT_TRUE(stream->Write(RandomQuery("ps", 2, 3, 1)) && stream->Read(&response));
    context.TryCancel();
  }
  {
    grpc::ClientContext context;
    v1::EvaluateResponse response;
    auto stream = client().prediction->EvaluateStream(&context, &response);
    stream->Write(AsEvaluation(RandomStep("es", 2, 3, 1)));
    stream->WritesDone();
    ASSERT_TRUE(stream->Finish().ok());
  }
  for (const char* id : {"p", "e", "t", "ps", "es"}) {
    EXPECT_EQ(client().Get(id)->state(), v1::STATE_READY) << id;
    EXPECT_EQ(client().Get(id)->in_features(), 3) << id;
    EXPECT_EQ(client().Predict(RandomQuery(id, 2, 4, 1)).error().message,
              "features: expected 3 columns, got 4");
    EXPECT_EQ(client().Evaluate(AsEvaluation(RandomStep(id, 2, 4, 1))).error(),
              Invalid("WIDTH_MISMATCH", "features"));
  }
  // All drew the same parameters, whoever asked first.
  EXPECT_EQ(client().State("p")->SerializeAsString(), client().State("e")->SerializeAsString());
  EXPECT_EQ(client().State("p")->SerializeAsString(), client().State("es")->SerializeAsString());
}

TEST_F(PredictionServiceTest, ABadRequestDoesNotResolveALazyModel) {
  v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
  request.mutable_features()->set_values(0, NAN);
  EXPECT_EQ(PredictError(request).reason, "NON_FINITE_VALUE");
  EXPECT_EQ(client().Get("m")->state(), v1::STATE_LAZY);
}

TEST_F(PredictionServiceTest, AStepReachedAlreadyIsNotWaitedFor) {
  Train(2);
  for (const int64_t step : {-1, 0, 1, 2}) {
    v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
    request.set_min_step(step);
    EXPECT_EQ(client().Predict(request)->step(), 2);
  }
}

TEST_F(PredictionServiceTest, APredictionWaitsForItsStepOnALazyModelToo) {
  auto second = PredictAtStep(2);
  auto first = PredictAtStep(1);
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  EXPECT_EQ(client().Get("m")->state(), v1::STATE_LAZY);  // a wait resolves nothing
  Train(1);
  EXPECT_EQ(first.get()->step(), 1);
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(5)), std::future_status::timeout);
  Train(1);
  EXPECT_EQ(second.get()->step(), 2);
}

TEST_F(PredictionServiceTest, AStepThatIsNotReachedInTimeIsSaidSoToTheCaller) {
  Train(1);
  v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
  request.set_min_step(5);
  ErrorDetails error;
  // It is said 20 ms before the deadline, which may pass on its way on a busy machine.
  EXPECT_TRUE(Soon([&] {
    const absl::Time begin = absl::Now();
    error = client().Predict(request, absl::Milliseconds(300)).error();
    EXPECT_EQ(error.code, StatusCode::DEADLINE_EXCEEDED) << error;
    EXPECT_GT(absl::Now() - begin, absl::Milliseconds(200));
    return !error.reason.empty();
  }));
  EXPECT_EQ(error, Error(StatusCode::DEADLINE_EXCEEDED, "STEP_NOT_REACHED", "min_step"));
  EXPECT_TRUE(absl::StrContains(error.message, "step 5")) << error.message;
}

TEST_F(PredictionServiceTest, AWaitEndsWithItsModel) {
  auto waiting = PredictAtStep(5);
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  ASSERT_TRUE(client().Delete("m").ok());
  EXPECT_EQ(waiting.get().error(), kNotFound);
}

TEST_F(PredictionServiceTest, AWaitWhoseCallerGoesAwayIsCounted) {
  grpc::ClientContext context;
  v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
  request.set_min_step(5);
  std::future<grpc::Status> waiting = std::async(std::launch::async, [&] {
    v1::PredictResponse response;
    return client().prediction->Predict(&context, request, &response);
  });
  constexpr char kOfPredict[] =
      "grpc_method=\"Predict\",grpc_service=\"lazynorm.v1.PredictionService\",grpc_type=\"unary\"}";
  ASSERT_TRUE(Soon(
      [&] { return Metric(absl::StrCat("grpc_server_msg_received_total{", kOfPredict)) == "1"; }));
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  context.TryCancel();
  EXPECT_EQ(waiting.get().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(Soon([&] {
    return Metric(absl::StrCat("grpc_server_handled_total{grpc_code=\"Canceled\",", kOfPredict)) ==
           "1";
  }));
}

TEST_F(PredictionServiceTest, AStreamOfPredictionsAnswersInOrderAndEndsWithABadMessage) {
  Train(1);
  grpc::ClientContext context;
  auto stream = client().prediction->PredictStream(&context);
  for (int i = 1; i <= 100; ++i) ASSERT_TRUE(stream->Write(RandomQuery("m", i, 3, i)));
  stream->Write(RandomQuery("m", 1, 2, 1));
  stream->Write(RandomQuery("m", 1, 3, 1));
  stream->WritesDone();
  v1::PredictResponse response;
  for (int i = 1; i <= 100; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.predictions().rows(), i);
  }
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(DetailsOf(stream->Finish()), Invalid("WIDTH_MISMATCH", "features"));
}

TEST_F(PredictionServiceTest, AStreamMayWaitForSteps) {
  grpc::ClientContext context;
  auto stream = client().prediction->PredictStream(&context);
  for (int i = 1; i <= 3; ++i) {
    v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
    request.set_min_step(i);
    ASSERT_TRUE(stream->Write(request));
  }
  v1::PredictResponse response;
  for (int i = 1; i <= 3; ++i) {
    Train(1);
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.step(), i);
  }
  // One that waits for ever goes with its caller.
  v1::PredictRequest request = RandomQuery("m", 2, 3, 1);
  request.set_min_step(100);
  ASSERT_TRUE(stream->Write(request));
  absl::SleepFor(absl::Milliseconds(10));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
}

v1::EvaluateRequest Slice(const v1::EvaluateRequest& all, int begin, int end) {
  v1::EvaluateRequest piece;
  piece.set_model(all.model());
  const int columns = all.features().columns();
  *piece.mutable_features() = MakeMatrix(end - begin, columns,
                                         {all.features().values().begin() + begin * columns,
                                          all.features().values().begin() + end * columns});
  *piece.mutable_targets() =
      MakeMatrix(end - begin, 1,
                 {all.targets().values().begin() + begin, all.targets().values().begin() + end});
  return piece;
}

Answer<v1::EvaluateResponse> EvaluateAll(Connection& client,
                                         const std::vector<v1::EvaluateRequest>& pieces) {
  grpc::ClientContext context;
  Answer<v1::EvaluateResponse> answer;
  auto stream = client.prediction->EvaluateStream(&context, &answer.response);
  for (const v1::EvaluateRequest& piece : pieces) {
    if (!stream->Write(piece)) break;
  }
  stream->WritesDone();
  answer.status = stream->Finish();
  return answer;
}

TEST_F(PredictionServiceTest, EvaluationScoresWhatPredictPredicts) {
  Train(5);
  const v1::EvaluateRequest request = AsEvaluation(RandomStep("m", 50, 3, 99));
  const auto scores = client().Evaluate(request);
  ASSERT_TRUE(scores.ok()) << scores.error();
  const auto y = client().Predict(RandomQuery("m", 50, 3, 99));
  double squares = 0, absolute = 0;
  for (int i = 0; i < 50; ++i) {
    const double d = double{y->predictions().values(i)} - request.targets().values(i);
    squares += d * d / 50;
    absolute += std::fabs(d) / 50;
  }
  EXPECT_EQ(scores->rows(), 50);
  EXPECT_EQ(scores->step(), 5);
  EXPECT_NEAR(scores->loss(), squares, 1e-9 * squares);
  EXPECT_NEAR(scores->mean_absolute_error(), absolute, 1e-9 * absolute);
  EXPECT_NEAR(scores->root_mean_squared_error(), std::sqrt(squares), 1e-9);
  EXPECT_TRUE(scores->has_r2());
  EXPECT_FALSE(scores->has_accuracy() || scores->has_log_loss() || scores->has_roc_auc());
  EXPECT_EQ(client().Get("m")->step(), 5);
}

TEST_F(PredictionServiceTest, AnEvaluationInPiecesIsThatOfTheWhole) {
  Train(5);
  const v1::EvaluateRequest all = AsEvaluation(RandomStep("m", 60, 3, 99));
  const auto whole = client().Evaluate(all);
  const auto pieces =
      EvaluateAll(client(), {Slice(all, 0, 1), Slice(all, 1, 20), Slice(all, 20, 60)});
  ASSERT_TRUE(pieces.ok()) << pieces.error();
  EXPECT_EQ(pieces->rows(), 60);
  EXPECT_EQ(pieces->step(), 5);
  EXPECT_NEAR(pieces->loss(), whole->loss(), 1e-12 * whole->loss());
  EXPECT_NEAR(pieces->r2(), whole->r2(), 1e-9);
  EXPECT_NEAR(pieces->mean_absolute_error(), whole->mean_absolute_error(), 1e-9);
}

TEST_F(PredictionServiceTest, AnEvaluationStreamIsOfOneModelAndOfSomeRows) {
  Train(1);
  client().Create("other", "mlp {}");
  const v1::EvaluateRequest good = AsEvaluation(RandomStep("m", 4, 3, 1));
  const v1::EvaluateRequest other = AsEvaluation(RandomStep("other", 4, 3, 1));
  EXPECT_EQ(EvaluateAll(client(), {good, other, good}).error(),
            Invalid("INVALID_MODEL_ID", "model"));
  EXPECT_EQ(EvaluateAll(client(), {}).error(), Invalid("EMPTY_BATCH", "features"));
  EXPECT_EQ(EvaluateAll(client(), {AsEvaluation(RandomStep("nobody", 4, 3, 1))}).error(),
            kNotFound);
  EXPECT_EQ(EvaluateAll(client(), {good, AsEvaluation(RandomStep("m", 4, 2, 1))}).error(),
            Invalid("WIDTH_MISMATCH", "features"));
  v1::EvaluateRequest without_targets = good;
  without_targets.clear_targets();
  EXPECT_EQ(EvaluateAll(client(), {good, without_targets}).error(),
            Invalid("TARGET_MISMATCH", "targets"));
}

TEST_F(PredictionServiceTest, AnEvaluationStreamStaysAtTheStepItBeganWith) {
  Train(1);
  const v1::EvaluateRequest rows = AsEvaluation(RandomStep("m", 4, 3, 1));
  const double before = client().Evaluate(rows)->loss();
  grpc::ClientContext context;
  v1::EvaluateResponse response;
  auto stream = client().prediction->EvaluateStream(&context, &response);
  // The second is read when the first has been predicted.
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(stream->Write(rows));
  const auto received = [&] {
    return Metric(
        "grpc_server_msg_received_total{grpc_method=\"EvaluateStream\",grpc_service="
        "\"lazynorm.v1.PredictionService\",grpc_type=\"client_stream\"}");
  };
  ASSERT_TRUE(Soon([&] { return received() == "2"; }));
  Train(5);
  ASSERT_TRUE(stream->Write(rows));
  stream->WritesDone();
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(response.step(), 1);
  EXPECT_NEAR(response.loss(), before, 1e-9);
}

TEST_F(PredictionServiceTest, BadEvaluationsAreRefusedLikeBadSteps) {
  Train(1);
  v1::EvaluateRequest request = AsEvaluation(RandomStep("m", 4, 3, 1));
  request.add_labels(1);
  EXPECT_EQ(client().Evaluate(request).error(), Invalid("TARGET_MISMATCH", "labels"));
  request.clear_labels();
  request.add_sample_weights(1);
  EXPECT_EQ(client().Evaluate(request).error(), Invalid("INVALID_WEIGHTS", "sample_weights"));
  request.clear_sample_weights();
  request.mutable_targets()->set_values(1, NAN);
  EXPECT_EQ(client().Evaluate(request).error(), Invalid("NON_FINITE_VALUE", "targets.values[1]"));
  request.clear_features();
  EXPECT_EQ(client().Evaluate(request).error(), Invalid("EMPTY_BATCH", "features"));
  EXPECT_EQ(client().Evaluate(AsEvaluation(RandomStep("nobody", 4, 3, 1))).error(), kNotFound);
}

TEST_F(PredictionServiceTest, SampleWeightsWeighTheScores) {
  Train(3);
  v1::EvaluateRequest all = AsEvaluation(RandomStep("m", 10, 3, 50));
  const double first_five = client().Evaluate(Slice(all, 0, 5))->loss();
  for (int i = 0; i < 10; ++i) all.add_sample_weights(i < 5 ? 2.0f : 0.0f);
  EXPECT_NEAR(client().Evaluate(all)->loss(), first_five, 1e-9);
}

}  // namespace
}  // namespace lazynorm
