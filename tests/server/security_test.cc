// Tokens, roles, patterns, limits of each caller and the audit, over a real socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "inference/inference_service.grpc.pb.h"
#include "tests/server/security_fixture.h"
#include "tests/support/token_line.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const ErrorDetails kUnauthenticated = Error(StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED");
const ErrorDetails kDenied = Error(StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED");
const ErrorDetails kLimited = Error(StatusCode::RESOURCE_EXHAUSTED, "RATE_LIMITED");

TEST_F(SecurityTest, OnlyWhoHasATokenIsLetInAndHealthIsOpen) {
  as_ = "";
  EXPECT_EQ(Get("other").error(), kUnauthenticated);
  EXPECT_EQ(Predict("other"), kUnauthenticated);
  EXPECT_EQ(client().Health(""), grpc::health::v1::HealthCheckResponse::SERVING);
  for (const char* path : {"/metrics", "/healthz", "/readyz"}) {
    EXPECT_THAT(HttpGet(path), StartsWith("HTTP/1.1 200")) << path;
  }
  as_ = "nobody";
  EXPECT_EQ(Predict("other"), kUnauthenticated);
  as_ = "reader";
  EXPECT_EQ(Predict("other").code, StatusCode::OK);
}

TEST_F(SecurityTest, WhatIsSentMustBeABearerToken) {
  for (const char* authorization : {"", "Bearer", "Bearer ", "root-secret", "Basic root-secret",
                                    "Bearer root-secret2", "Bearer  ", "Bearer root-secre"}) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", authorization);
    v1::GetModelRequest request;
    request.set_model("other");
    v1::Model model;
    EXPECT_EQ(DetailsOf(client().models->GetModel(&context, request, &model)), kUnauthenticated)
        << authorization;
  }
  grpc::ClientContext context;
  context.AddMetadata("authorization", "bearer root-secret");
  v1::GetModelRequest request;
  request.set_model("other");
  v1::Model model;
  EXPECT_TRUE(client().models->GetModel(&context, request, &model).ok());
}

TEST_F(SecurityTest, EachRoleMayWhatTheOneBeforeMayAndMore) {
  as_ = "reader";
  EXPECT_EQ(Train("other"), kDenied);
  EXPECT_EQ(Create("new").error(), kDenied);
  as_ = "feeder";
  EXPECT_EQ(Predict("other").code, StatusCode::OK);
  EXPECT_EQ(Train("other").code, StatusCode::OK);
  EXPECT_EQ(Create("new").error(), kDenied);
  EXPECT_EQ(Copy("other", "copy").error(), kDenied);
  as_ = "root";
  EXPECT_TRUE(Create("new").ok());
}

TEST_F(SecurityTest, PatternsAreForEachModelThatIsNamed) {
  as_ = "team";
  EXPECT_TRUE(Get("team-a").ok());
  EXPECT_EQ(Get("other").error(), kDenied);
  EXPECT_EQ(Get("not-there").error(), kDenied);  // nobody learns whether it is
  EXPECT_EQ(Predict("other"), kDenied);
  EXPECT_EQ(Create("mine").error(), kDenied);
  EXPECT_TRUE(Copy("team-a", "team-b").ok());
  EXPECT_EQ(Copy("team-a", "mine").error(), kDenied);
  EXPECT_EQ(Copy("other", "team-c").error(), kDenied);
  EXPECT_TRUE(Shadow("team-b", "team-a").ok());
  EXPECT_EQ(Shadow("team-a", "other").error(), kDenied);
  EXPECT_EQ(Create("team-c", "mlp {} learning { shadow_of: 'other' }").error(), kDenied);
  grpc::ClientContext context;
  Sign(context);
  auto backup = client().models->Backup(&context, v1::BackupRequest());  // has all models
  v1::BackupResponse piece;
  EXPECT_FALSE(backup->Read(&piece));
  EXPECT_EQ(DetailsOf(backup->Finish()), kDenied);
}

TEST_F(SecurityTest, EachMessageOfAStreamIsLookedAt) {
  as_ = "half";
  {
    grpc::ClientContext context;
    Sign(context);
    auto stream = client().training->TrainStream(&context);
    v1::TrainResponse step;
    for (const char* model : {"team-a", "team-a", "other", "team-a"}) {
      stream->Write(RandomStep(model, 4, 2, 1));
    }
    EXPECT_TRUE(stream->Read(&step));
    EXPECT_TRUE(stream->Read(&step));
    EXPECT_FALSE(stream->Read(&step));
    EXPECT_EQ(DetailsOf(stream->Finish()), kDenied);
  }
  {
    grpc::ClientContext context;
    Sign(context);
    v1::EvaluateResponse scores;
    auto stream = client().prediction->EvaluateStream(&context, &scores);
    stream->Write(AsEvaluation(RandomStep("other", 4, 2, 1)));
    EXPECT_EQ(DetailsOf(stream->Finish()), kDenied);
  }
  as_ = "root";
  EXPECT_EQ(Get("team-a")->step(), 2);
  EXPECT_EQ(Get("other")->state(), v1::STATE_LAZY);
}

TEST_F(SecurityTest, ListsHaveWhatTheCallerMayUse) {
  for (const char* id : {"team-b", "a", "b", "team-c", "z"}) ASSERT_TRUE(Create(id).ok());
  as_ = "team";
  std::string page;
  EXPECT_THAT(List(2, &page), ElementsAre("team-a", "team-b"));
  EXPECT_THAT(List(2, &page), ElementsAre("team-c"));
  EXPECT_EQ(page, "");
  using Inference = inference::GRPCInferenceService;
  const auto stub = Inference::NewStub(client().channel);
  const auto index =
      Call(*stub, &Inference::Stub::RepositoryIndex, inference::RepositoryIndexRequest());
  ASSERT_TRUE(index.ok()) << index.error();
  EXPECT_EQ(index->models_size(), 3);
  const auto statistics =
      Call(*stub, &Inference::Stub::ModelStatistics, inference::ModelStatisticsRequest());
  EXPECT_EQ(statistics->model_stats_size(), 3);
  as_ = "reader";
  EXPECT_THAT(List(2, &page), ElementsAre("a", "b"));
}

TEST_F(SecurityTest, RestWantsTheSame) {
  const std::string team = "Authorization: Bearer team-secret\r\n";
  EXPECT_THAT(Rest("/v2", ""), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(Rest("/v2/health/ready", ""), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(Rest("/v2/models/team-a", "Authorization: Bearer nobody\r\n"),
              StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(Rest("/v2/models/team-a", team), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Rest("/v2/models/other", team), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(Rest("/v2/models/not-there/ready", team), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(HttpPost("/v2/models/team-a/infer", "{}"), StartsWith("HTTP/1.1 401"));
}

TEST_F(SecurityTest, AChangedFileIsReadAndABadOneLeavesTheOld) {
  as_ = "new";
  EXPECT_EQ(Get("other").error(), kUnauthenticated);
  Write(TokenLine("new", "predict"));
  EXPECT_TRUE(Soon([&] { return Get("other").ok(); }));
  as_ = "root";
  EXPECT_EQ(Get("other").error(), kUnauthenticated);
  as_ = "new";
  for (const std::string& bad : {std::string("nonsense"), std::string()}) {
    Write(bad);
    absl::SleepFor(2 * Security::kLook);
    EXPECT_TRUE(Get("other").ok()) << bad;
  }
}

// Streams that are open while the tokens change.
class RevokedTest : public SecurityTest {
 protected:
  // The tokens of the others stay.
  void Become(const std::string& line) {
    Write(TokenLine("root", "admin") + TokenLine("reader", "predict") + line);
  }
  // Opens a stream as `name`, takes its token away and returns when the stream has ended: all
  // streams have been looked at since the tokens before.
  void AwaitLookAtStreams(const std::string& name, const std::string& tokens_then) {
    as_ = name;
    grpc::ClientContext context;
    Sign(context);
    auto stream = client().prediction->PredictStream(&context);
    ASSERT_TRUE(stream->Write(RandomQuery("other", 1, 2, 1)));
    ASSERT_TRUE(stream->Read(&prediction_));
    Write(tokens_then);
    EXPECT_FALSE(stream->Read(&prediction_));
    EXPECT_EQ(EndOf(stream), kUnauthenticated);
  }
  template <class Stream>
  static ErrorDetails EndOf(Stream& stream) {
    return DetailsOf(stream->Finish());
  }

  v1::TrainResponse step_;
  v1::PredictResponse prediction_;
  v1::ModelStatus status_;
  v1::EvaluateResponse scores_;
};

TEST_F(RevokedTest, TheNextMessageIsRefusedAndWhatCameBeforeIsAnswered) {
  as_ = "feeder";
  grpc::ClientContext context;
  Sign(context);
  auto stream = client().training->TrainStream(&context);
  ASSERT_TRUE(stream->Write(RandomStep("other", 4, 2, 1)));
  ASSERT_TRUE(stream->Read(&step_));
  Become("");
  int steps = 1;
  while (stream->Write(RandomStep("other", 4, 2, 1)) && stream->Read(&step_)) ++steps;
  EXPECT_EQ(EndOf(stream), kUnauthenticated);
  as_ = "root";
  EXPECT_EQ(Get("other")->step(), steps);
}

TEST_F(RevokedTest, StreamsThatSendNothingOrOnlySendEndByThemselves) {
  ASSERT_EQ(Predict("other").code, StatusCode::OK);
  as_ = "feeder";
  grpc::ClientContext contexts[3];
  for (grpc::ClientContext& context : contexts) Sign(context);
  auto idle = client().prediction->PredictStream(&contexts[0]);
  ASSERT_TRUE(idle->Write(RandomQuery("other", 1, 2, 1)));
  ASSERT_TRUE(idle->Read(&prediction_));
  auto scored = client().prediction->EvaluateStream(&contexts[1], &scores_);
  ASSERT_TRUE(scored->Write(AsEvaluation(RandomStep("other", 4, 2, 1))));
  v1::WatchModelRequest watch;
  watch.set_model("other");
  auto watching = client().models->WatchModel(&contexts[2], watch);
  ASSERT_TRUE(watching->Read(&status_));
  const absl::Time begin = absl::Now();
  Become("");
  EXPECT_FALSE(idle->Read(&prediction_));
  EXPECT_EQ(EndOf(idle), kUnauthenticated);
  EXPECT_EQ(EndOf(scored), kUnauthenticated);
  while (watching->Read(&status_)) {
  }
  EXPECT_EQ(EndOf(watching), kUnauthenticated);
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
}

TEST_F(RevokedTest, AnExportIsNotFinished) {
  ASSERT_TRUE(Create("large", "mlp { hidden: 2000 hidden: 2000 }").ok());
  ASSERT_EQ(Predict("large").code, StatusCode::OK);
  as_ = "feeder";
  grpc::ClientContext context;
  Sign(context);
  v1::ExportModelRequest request;
  request.set_model("large");
  request.set_format(v1::EXPORT_FORMAT_SAFETENSORS);
  auto stream = client().models->ExportModel(&context, request);
  v1::ExportModelResponse piece;
  ASSERT_TRUE(stream->Read(&piece));
  size_t bytes = piece.data().size();
  const std::string root = TokenLine("root", "admin"), half = TokenLine("half", "predict");
  // Nobody reads on meanwhile.
  AwaitLookAtStreams("feeder", root + half + TokenLine("reader", "predict"));
  AwaitLookAtStreams("reader", root + half);
  AwaitLookAtStreams("half", root);
  while (stream->Read(&piece)) bytes += piece.data().size();
  EXPECT_EQ(EndOf(stream), kUnauthenticated);
  EXPECT_LT(bytes, 16'000'000u);
}

TEST_F(RevokedTest, WhoMayLessHearsSo) {
  as_ = "half";
  grpc::ClientContext contexts[3];
  for (grpc::ClientContext& context : contexts) Sign(context);
  auto training = client().training->TrainStream(&contexts[2]);
  ASSERT_TRUE(training->Write(RandomStep("team-a", 4, 2, 1)));
  ASSERT_TRUE(training->Read(&step_));
  Become(TokenLine("half", "predict", "team-*"));
  EXPECT_FALSE(training->Read(&step_));
  EXPECT_EQ(EndOf(training), kDenied);
  v1::WatchModelRequest watch;
  watch.set_model("team-a");
  auto watching = client().models->WatchModel(&contexts[0], watch);
  ASSERT_TRUE(watching->Read(&status_));
  auto predicting = client().prediction->PredictStream(&contexts[1]);
  Become(TokenLine("half", "predict", "other"));
  while (watching->Read(&status_)) {
  }
  EXPECT_EQ(EndOf(watching), kDenied);
  // This one may go on, with what it may use now.
  ASSERT_TRUE(predicting->Write(RandomQuery("other", 1, 2, 1)));
  EXPECT_TRUE(predicting->Read(&prediction_));
  ASSERT_TRUE(predicting->Write(RandomQuery("team-a", 1, 2, 1)));
  EXPECT_FALSE(predicting->Read(&prediction_));
  EXPECT_EQ(EndOf(predicting), kDenied);
}

TEST_F(RevokedTest, TheStreamsOfOthersStay) {
  ASSERT_EQ(Predict("other").code, StatusCode::OK);
  as_ = "reader";
  grpc::ClientContext contexts[2];
  Sign(contexts[0]);
  auto stays = client().prediction->PredictStream(&contexts[0]);
  as_ = "feeder";
  Sign(contexts[1]);
  auto ends = client().prediction->PredictStream(&contexts[1]);
  for (auto* stream : {&stays, &ends}) {
    ASSERT_TRUE((*stream)->Write(RandomQuery("other", 1, 2, 1)));
    ASSERT_TRUE((*stream)->Read(&prediction_));
  }
  Become("");
  EXPECT_FALSE(ends->Read(&prediction_));
  EXPECT_EQ(EndOf(ends), kUnauthenticated);
  absl::SleepFor(absl::Milliseconds(1200));  // the next look at all streams
  ASSERT_TRUE(stays->Write(RandomQuery("other", 1, 2, 1)));
  EXPECT_TRUE(stays->Read(&prediction_));
  stays->WritesDone();
  EXPECT_EQ(EndOf(stays).code, StatusCode::OK);
}

TEST_F(SecurityTest, LifeCycleCallsLeaveALineAndNoLineASecret) {
  spdlog::default_logger()->set_level(spdlog::level::info);
  Create("audited");
  as_ = "reader";
  Create("refused\" code=OK\n");
  Get("audited");
  as_ = "nobody";
  Create("unknown");
  spdlog::default_logger()->flush();
  const std::string text = log_.str();
  EXPECT_THAT(text, HasSubstr("event=audit caller=\"root\" "
                              "method=lazynorm.v1.ModelService/CreateModel model=\"audited\" "
                              "code=OK\n"));
  EXPECT_THAT(text, HasSubstr("caller=\"reader\" method=lazynorm.v1.ModelService/CreateModel "
                              "model=\"refused\\' code=OK\\n\" code=PERMISSION_DENIED\n"));
  EXPECT_THAT(text, HasSubstr("caller=\"ipv4:127.0.0.1\" "
                              "method=lazynorm.v1.ModelService/CreateModel model=\"unknown\" "
                              "code=UNAUTHENTICATED\n"));
  EXPECT_THAT(text, Not(HasSubstr("GetModel")));
  EXPECT_THAT(text, Not(HasSubstr("-secret")));
}

class CallerLimitsServerTest : public SecurityTest {
 protected:
  void StartWith(int calls_per_second, int calls_in_flight) {
    Options options = TestOptions();
    options.auth_tokens_file = path_;
    options.max_calls_per_second = calls_per_second;
    options.max_calls_in_flight = calls_in_flight;
    Start(options);
  }
};

TEST_F(CallerLimitsServerTest, CallsBeyondTheRateAreRefusedAndTellWhenToComeBack) {
  StartWith(5, 0);
  const absl::Time begin = absl::Now();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Get("none").error().reason, "MODEL_NOT_FOUND");
  // The next is refused, unless the five have taken so long that it may come.
  int more = 0;
  ErrorDetails refused;
  ASSERT_TRUE(Soon([&] {
    refused = Get("none").error();
    more += refused.reason == "MODEL_NOT_FOUND" ? 1 : 0;
    return refused.reason != "MODEL_NOT_FOUND";
  }));
  EXPECT_LE(more, 5 * absl::ToDoubleSeconds(absl::Now() - begin));
  EXPECT_EQ(refused, kLimited);
  EXPECT_GT(refused.retry_after, absl::ZeroDuration());
  EXPECT_LE(refused.retry_after, absl::Milliseconds(200));
  EXPECT_EQ(client().Health(""), grpc::health::v1::HealthCheckResponse::SERVING);
  as_ = "reader";
  EXPECT_EQ(Get("none").error().reason, "MODEL_NOT_FOUND");
  absl::SleepFor(refused.retry_after);
  as_ = "root";
  EXPECT_EQ(Get("none").error().reason, "MODEL_NOT_FOUND");
  const auto rest = [&] { return Rest("/v2", "Authorization: Bearer root-secret\r\n"); };
  EXPECT_TRUE(Soon([&] { return absl::StartsWith(rest(), "HTTP/1.1 429"); }));
}

TEST_F(CallerLimitsServerTest, AStreamIsSlowedDownToTheRate) {
  StartWith(20, 0);
  ASSERT_TRUE(Create("m").ok());
  grpc::ClientContext context;
  Sign(context);
  auto stream = client().prediction->PredictStream(&context);
  const absl::Time begin = absl::Now();
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(stream->Write(RandomQuery("m", 1, 2, 1)));
  stream->WritesDone();
  v1::PredictResponse response;
  int answers = 0;
  while (stream->Read(&response)) ++answers;
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answers, 30);
  // 20 at once, less the call before; the other 10 take 50 ms each.
  EXPECT_GT(absl::Now() - begin, absl::Milliseconds(450));
}

TEST_F(CallerLimitsServerTest, CallsInFlightAreCountedUntilTheyEnd) {
  StartWith(0, 2);
  ASSERT_TRUE(Create("m").ok());
  grpc::ClientContext contexts[2];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::ModelStatus>>> watches;
  v1::WatchModelRequest watch;
  watch.set_model("m");
  v1::ModelStatus status;
  for (grpc::ClientContext& context : contexts) {
    Sign(context);
    watches.push_back(client().models->WatchModel(&context, watch));
    ASSERT_TRUE(watches.back()->Read(&status));
  }
  EXPECT_EQ(Get("m").error(), kLimited);
  as_ = "reader";
  EXPECT_TRUE(Get("m").ok());
  as_ = "root";
  contexts[0].TryCancel();
  EXPECT_TRUE(Soon([&] { return Get("m").ok(); }));
  contexts[1].TryCancel();
  for (auto& each : watches) each->Finish();
}

}  // namespace
}  // namespace lazynorm
