// Several servers over one store, as their callers see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/cluster_fixture.h"

namespace lazynorm {
namespace {

TEST_F(ClusterTest, AnyServerTrainsAndAllHoldTheSameModel) {
  Make("m");
  for (int i = 0; i < 12; ++i) {
    const auto trained = nodes_[i % 3].client->Train(RandomStep("m", 4, 3, i));
    ASSERT_TRUE(trained.ok()) << trained.status.error_message();
    EXPECT_EQ(trained->step(), i + 1);
  }
  v1::PredictRequest query = RandomQuery("m", 2, 3, 1);
  query.set_min_step(12);
  const auto expected = a().Predict(query);
  for (Node& node : nodes_) {
    const auto predicted = node.client->Predict(query);
    ASSERT_TRUE(predicted.ok()) << predicted.status.error_message();
    EXPECT_EQ(predicted->step(), 12);
    EXPECT_EQ(predicted->predictions().SerializeAsString(),
              expected->predictions().SerializeAsString());
    EXPECT_EQ(node.client->State("m")->SerializeAsString(), a().State("m")->SerializeAsString());
  }
  EXPECT_EQ(MetricOf(nodes_[1], "lazynorm_forwarded_total{grpc_method=\"Train\"}"), "4");
  EXPECT_EQ(MetricOf(nodes_[0], "lazynorm_forwarded_total{grpc_method=\"Train\"}"), "");
  EXPECT_TRUE(Shows(nodes_[1], "lazynorm_replicas", "3"));
  EXPECT_TRUE(Shows(nodes_[1], "lazynorm_replicas_unreachable", "0"));
  EXPECT_TRUE(Shows(nodes_[0], "lazynorm_models_held", "1"));
  EXPECT_TRUE(Shows(nodes_[1], "lazynorm_replica_lag_steps{model=\"m\"}", "0"));
}

TEST_F(ClusterTest, WhoHasTrainedThroughAServerPredictsWithItThere) {
  Make("m");
  for (int i = 0; i < 50; ++i) {
    const auto trained = b().Train(RandomStep("m", 4, 3, i));
    ASSERT_TRUE(trained.ok());
    const absl::Time begin = absl::Now();
    const int64_t step = b().Predict(RandomQuery("m", 1, 3, i))->step();
    // It waits 200 ms for the step to come, less what it takes to answer in time.
    if (absl::Now() - begin < absl::Milliseconds(170)) {
      EXPECT_GE(step, trained->step());
    }
  }
}

TEST_F(ClusterTest, AModelIsKnownEverywhereAsSoonAsItIsMade) {
  for (int i = 0; i < 5; ++i) {
    const std::string id = absl::StrCat("m", i);
    ASSERT_TRUE(a().Create(id, kSpec).ok());
    const auto trained = b().Train(RandomStep(id, 4, 3, i));
    EXPECT_TRUE(trained.ok()) << trained.status.error_message();
    EXPECT_TRUE(c().Get(id).ok());
    EXPECT_EQ(DetailsOf(b().Create(id, kSpec).status),
              Error(grpc::StatusCode::ALREADY_EXISTS, "MODEL_EXISTS"));
  }
  EXPECT_EQ(DetailsOf(b().Train(RandomStep("none", 4, 3, 1)).status),
            Error(grpc::StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"));
  EXPECT_EQ(DetailsOf(b().Predict(RandomQuery("none", 4, 3, 1)).status),
            Error(grpc::StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"));
}

TEST_F(ClusterTest, OneOfManyMakesTheModelsToBeginWith) {
  std::string folder = (std::filesystem::temp_directory_path() / "lazynorm.XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/first.textproto") << kSpec;
  std::vector<Node> more(4);
  std::vector<std::thread> starts;
  for (Node& node : more) starts.emplace_back([&] { node = StartNode(folder); });
  for (std::thread& start : starts) start.join();
  for (Node& node : more) EXPECT_TRUE(Soon([&] { return node.client->Get("first").ok(); }));
  std::filesystem::remove_all(folder);
}

TEST_F(ClusterTest, ALazyModelIsResolvedFromAnyServer) {
  for (int i = 0; i < 3; ++i) Make(absl::StrCat("m", i));
  EXPECT_TRUE(b().Predict(RandomQuery("m0", 2, 3, 1)).ok());
  const auto width = [&](const char* model) { return a().Get(model)->in_features(); };
  EXPECT_TRUE(Soon([&] { return width("m0") == 3; }));
  EXPECT_EQ(DetailsOf(c().Predict(RandomQuery("m0", 2, 4, 1)).status),
            Invalid("WIDTH_MISMATCH", "features"));
  const auto evaluated = b().Evaluate(AsEvaluation(RandomStep("m1", 4, 5, 1)));
  EXPECT_TRUE(evaluated.ok()) << evaluated.status.error_message();
  EXPECT_TRUE(Soon([&] { return width("m1") == 5; }));
  grpc::ClientContext context;
  v1::EvaluateResponse response;
  auto stream = c().prediction->EvaluateStream(&context, &response);
  stream->Write(AsEvaluation(RandomStep("m2", 4, 6, 1)));
  stream->Write(AsEvaluation(RandomStep("m2", 4, 6, 2)));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(response.rows(), 8);
  EXPECT_TRUE(Soon([&] { return width("m2") == 6; }));
}

TEST_F(ClusterTest, AnErrorIsTheSameThroughAnotherServer) {
  Make("m");
  ASSERT_TRUE(a().Train(RandomStep("m", 4, 3, 1)).ok());
  const auto wide = RandomStep("m", 4, 7, 1);
  const ErrorDetails direct = DetailsOf(a().Train(wide).status);
  const ErrorDetails taken = DetailsOf(b().Train(wide).status);
  EXPECT_EQ(taken, direct);
  EXPECT_EQ(taken.message, direct.message);
  auto step = RandomStep("m", 4, 3, 2);
  step.set_request_id("r");
  ASSERT_TRUE(b().Train(step).ok());
  EXPECT_TRUE(c().Train(step)->replayed());
  auto other = RandomStep("m", 4, 3, 3);
  other.set_request_id("r");
  EXPECT_EQ(DetailsOf(c().Train(other).status), Invalid("REQUEST_ID_REUSED", "request_id"));
}

TEST_F(ClusterTest, EveryChangeIsMadeFromAnyServer) {
  Make("m");
  ASSERT_TRUE(b().Train(RandomStep("m", 4, 3, 1)).ok());
  const auto frozen = b().Freeze("m");
  ASSERT_TRUE(frozen.ok()) << frozen.status.error_message();
  EXPECT_TRUE(frozen->statistics_frozen());
  EXPECT_FALSE(c().Unfreeze("m")->statistics_frozen());
  v1::CreateCheckpointRequest checkpoint;
  checkpoint.set_model("m");
  const auto kept =
      Connection::Call(*b().models, &v1::ModelService::Stub::CreateCheckpoint, checkpoint);
  ASSERT_TRUE(kept.ok()) << kept.status.error_message();
  ASSERT_TRUE(c().Train(RandomStep("m", 4, 3, 2)).ok());
  v1::RestoreCheckpointRequest restore;
  restore.set_model("m");
  restore.set_checkpoint_id(kept->checkpoint_id());
  EXPECT_EQ(
      Connection::Call(*c().models, &v1::ModelService::Stub::RestoreCheckpoint, restore)->step(),
      1);
  // Nobody waits for the step that is gone again.
  EXPECT_TRUE(Soon([&] { return c().Predict(RandomQuery("m", 1, 3, 1))->step() == 1; }));
  v1::CopyModelRequest copy;
  copy.set_model("m");
  copy.set_model_id("copy");
  EXPECT_EQ(Connection::Call(*b().models, &v1::ModelService::Stub::CopyModel, copy)->step(), 1);
  ASSERT_TRUE(c().Delete("m").ok());
  EXPECT_FALSE(a().Get("m").ok());
  EXPECT_TRUE(Soon([&] { return !b().Get("m").ok() && b().Get("copy").ok(); }));
}

TEST_F(ClusterTest, WhatAPredictionLeftBehindIsTrainedOnThroughAnotherServer) {
  Make("m");
  ASSERT_TRUE(a().Train(RandomStep("m", 4, 3, 1)).ok());
  v1::PredictRequest query = RandomQuery("m", 2, 3, 1);
  query.add_prediction_ids("p0");
  query.add_prediction_ids("p1");
  const auto predicted = b().Predict(query);
  ASSERT_TRUE(predicted.ok()) << predicted.status.error_message();
  v1::TrainRequest labels;
  labels.set_model("m");
  labels.add_prediction_ids("p0");
  labels.add_prediction_ids("p1");
  *labels.mutable_targets() = MakeMatrix(2, 1, {1, 2});
  const auto trained = c().Train(labels);
  ASSERT_TRUE(trained.ok()) << trained.status.error_message();
  EXPECT_EQ(trained->step(), 2);
}

TEST_F(ClusterTest, AStreamIsTrainedOnInOrderWhereverItsModelsAre) {
  Make("m");
  ASSERT_TRUE(b().Create("n", kSpec).ok());
  grpc::ClientContext context;
  auto stream = b().training->TrainStream(&context);
  std::thread writer([&] {
    for (int i = 0; i < 40; ++i) stream->Write(RandomStep(i / 10 % 2 == 0 ? "m" : "n", 4, 3, i));
    stream->WritesDone();
  });
  std::map<std::string, int64_t> steps;
  v1::TrainResponse response;
  int answers = 0;
  for (; stream->Read(&response); ++answers) {
    EXPECT_EQ(response.step(), ++steps[answers / 10 % 2 == 0 ? "m" : "n"]);
  }
  writer.join();
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(answers, 40);
  EXPECT_EQ(a().Get("m")->step(), 20);
}

// A step that says of itself that another server has brought it.
ErrorDetails TrainAsBrought(Connection& to, const std::string& secret) {
  grpc::ClientContext context;
  context.AddMetadata("lazynorm-forwarded", secret);
  v1::TrainResponse response;
  return DetailsOf(to.training->Train(&context, RandomStep("m", 4, 3, 1), &response));
}

TEST_F(ClusterTest, ACallGoesOneHopAtMost) {
  Make("m");
  const absl::Time begin = absl::Now();
  EXPECT_EQ(TrainAsBrought(b(), cluster_.secret),
            Error(grpc::StatusCode::UNAVAILABLE, "NO_WRITER"));
  EXPECT_LT(absl::Now() - begin, kPatience / 4) << "it waits for no writer";
}

TEST_F(ClusterTest, WhoDoesNotKnowTheSecretIsAnOrdinaryCaller) {
  Make("m");
  std::string almost = cluster_.secret;
  almost.back() ^= 1;
  for (const std::string& secret : {std::string("1"), std::string(), almost, cluster_.secret + "1",
                                    cluster_.secret.substr(1)}) {
    EXPECT_EQ(TrainAsBrought(b(), secret).code, grpc::StatusCode::OK) << "taken to the writer";
  }
  EXPECT_EQ(a().Get("m")->step(), 5);
}

class LoggedClusterTest : public ClusterTest {
 protected:
  void SetUp() override {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", log_));
    ClusterTest::SetUp();
  }
  void TearDown() override {
    nodes_.clear();  // no thread logs any more
    spdlog::set_default_logger(logger_);
  }

  // Such lines of all servers since the last time.
  std::string Lines(const std::string& event) {
    const std::vector<std::string> log = log_->last_formatted();
    std::string lines;
    for (; seen_ < log.size(); ++seen_) {
      EXPECT_FALSE(absl::StrContains(log[seen_], cluster_.secret)) << log[seen_];
      const size_t begin = log[seen_].find(absl::StrCat("event=", event, " "));
      if (begin != std::string::npos) lines += log[seen_].substr(begin);
    }
    return lines;
  }

 private:
  const std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> log_ =
      std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(1000);
  size_t seen_ = 0;
  const std::shared_ptr<spdlog::logger> logger_ = spdlog::default_logger();
};

class UnreachableTest : public LoggedClusterTest {
 protected:
  Options NodeOptions() override {
    Options options = LoggedClusterTest::NodeOptions();
    options.lease_timeout = absl::Seconds(1);  // out of reach for 2 s longer is told
    return options;
  }
};

TEST_F(UnreachableTest, AReplicaThatCannotBeReachedIsToldUntilItCan) {
  const KeptPort port;
  Options options = NodeOptions();
  options.listen = {port.address()};
  auto store = cluster_.Join(options.listen[0]);
  const auto missed = [this](size_t node) {
    return MetricOf(nodes_[node], "lazynorm_replicas_unreachable");
  };
  ASSERT_TRUE(Soon([&] { return missed(0) == "1" && missed(1) == "1"; }));
  EXPECT_THAT(Lines("replica_unreachable"),
              testing::HasSubstr(
                  absl::StrCat("event=replica_unreachable address=\"", port.address(), "\"\n")));
  nodes_.push_back(StartNode(options, std::move(store)));
  ASSERT_TRUE(Soon([&] { return missed(0) == "0" && missed(1) == "0" && missed(3) == "0"; }));
  EXPECT_EQ(Lines("advertise"), "");
}

class SameAddressTest : public LoggedClusterTest {
 protected:
  Options NodeOptions() override {
    Options options = ClusterTest::NodeOptions();
    options.advertise = "127.0.0.1:50051";
    return options;
  }
};

TEST_F(SameAddressTest, WhoComesToAnAddressThatIsTakenSaysSo) {
  const std::string lines = Lines("advertise");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2) << lines;  // all but the first
  EXPECT_THAT(lines,
              testing::HasSubstr(
                  "address=\"127.0.0.1:50051\" message=\"another replica advertises the same"));
}

class AuditedClusterTest : public LoggedClusterTest {
 protected:
  void SetUp() override {
    LoggedClusterTest::SetUp();
    Make("m");
    Audit();
  }
  std::string Audit() { return Lines("audit"); }
  static std::string Line(const std::string& method, const std::string& code) {
    return absl::StrCat("event=audit caller=\"ipv4:127.0.0.1\" method=lazynorm.v1.ModelService/",
                        method, " model=\"m\" code=", code);
  }
};

TEST_F(AuditedClusterTest, ACallHasOneLineWhereItsCallerIsKnownAndThatSaysWhoDidIt) {
  ASSERT_TRUE(a().Freeze("m").ok());
  EXPECT_EQ(Audit(), Line("FreezeStatistics", "OK") + "\n");
  ASSERT_TRUE(b().Unfreeze("m").ok());
  EXPECT_EQ(Audit(), absl::StrCat(Line("UnfreezeStatistics", "OK"),
                                  " writer=\"127.0.0.1:", nodes_[0].server->ports()[0], "\"\n"));
}

TEST_F(AuditedClusterTest, NobodyTalksItselfOutOfTheAudit) {
  grpc::ClientContext context;
  context.AddMetadata("lazynorm-forwarded", "1");
  v1::FreezeStatisticsRequest request;
  request.set_model("m");
  v1::Model model;
  ASSERT_TRUE(a().models->FreezeStatistics(&context, request, &model).ok());
  EXPECT_EQ(Audit(), Line("FreezeStatistics", "OK") + "\n");
}

class LimitedClusterTest : public ClusterTest {
 protected:
  Options NodeOptions() override {
    Options options = ClusterTest::NodeOptions();
    options.max_calls_in_flight = 1;
    return options;
  }
};

TEST_F(LimitedClusterTest, ACallCountsOnceWhereItsCallerCameIn) {
  Make("m");
  ASSERT_TRUE(a().Train(RandomStep("m", 4, 3, 1)).ok());
  grpc::ClientContext context;
  v1::WatchModelRequest watch;
  watch.set_model("m");
  auto watching = a().models->WatchModel(&context, watch);
  v1::ModelStatus status;
  ASSERT_TRUE(watching->Read(&status));
  const ErrorDetails limited = Error(grpc::StatusCode::RESOURCE_EXHAUSTED, "RATE_LIMITED");
  EXPECT_EQ(DetailsOf(a().Train(RandomStep("m", 4, 3, 1)).status), limited);
  EXPECT_EQ(TrainAsBrought(a(), "1"), limited);
  const auto trained = b().Train(RandomStep("m", 4, 3, 1));
  EXPECT_TRUE(trained.ok()) << trained.status.error_message();
  context.TryCancel();
  watching->Finish();
}

class ImpatientClusterTest : public ClusterTest {
 protected:
  Options NodeOptions() override {
    Options options = ClusterTest::NodeOptions();
    options.lease_timeout = absl::Seconds(1);  // calls wait 2 s longer
    return options;
  }
};

TEST_F(ImpatientClusterTest, WithoutAWriterACallWaitsALittleAndIsTold) {
  Make("m");
  for (Node& node : nodes_) node.store->CutOff(true);
  nodes_[0].store->Lose();
  nodes_[0].server = nullptr;
  const absl::Time begin = absl::Now();
  v1::TrainRequest step = RandomStep("m", 4, 3, 1);
  step.set_request_id("r");  // or it might be on its way to the first as that goes
  const ErrorDetails error = b().Train(step).error();
  EXPECT_EQ(error, Error(grpc::StatusCode::UNAVAILABLE, "NO_WRITER"));
  EXPECT_GT(error.retry_after, absl::ZeroDuration());
  EXPECT_GE(absl::Now() - begin, absl::Seconds(3));
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
  // Within its deadline, the caller hears why, unless that is on its way for 20 ms.
  EXPECT_TRUE(Soon([&] {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(300)));
    v1::TrainResponse response;
    const ErrorDetails told = DetailsOf(b().training->Train(&context, step, &response));
    EXPECT_THAT(told.code, testing::AnyOf(error.code, grpc::StatusCode::DEADLINE_EXCEEDED));
    return told == error;
  }));
}

TEST_F(ClusterTest, AWriterThatDiesUnderLoadIsReplacedAndEveryStepIsTakenOnce) {
  Make("m");
  ASSERT_TRUE(a().Train(RandomStep("m", 4, 3, 0)).ok());
  constexpr int kCallers = 4, kSteps = 100;
  std::atomic<int> acknowledged = 0, errors = 0;
  std::vector<std::thread> callers;
  for (int k = 0; k < kCallers; ++k) {
    callers.emplace_back([&, k] {
      Connection& via = k % 2 == 0 ? b() : c();
      for (int i = 0; i < kSteps; ++i) {
        auto step = RandomStep("m", 4, 3, 1000 * k + i);
        step.set_request_id(absl::StrCat(k, "-", i));
        while (!via.Train(step).ok()) ++errors;
        ++acknowledged;
        EXPECT_TRUE(via.Predict(RandomQuery("m", 1, 3, 1)).ok());
      }
    });
  }
  while (acknowledged < kCallers * kSteps / 4) absl::SleepFor(absl::Milliseconds(1));
  Kill(nodes_[0]);
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(b().Train(RandomStep("m", 4, 3, 1))->step(), 2 + kCallers * kSteps);
  EXPECT_LT(errors, kCallers * 3);
}

TEST_F(ClusterTest, WhoDrainsHandsOverBeforeItGoes) {
  Make("m");
  ASSERT_TRUE(a().Train(RandomStep("m", 4, 3, 0)).ok());
  nodes_[0].server->BeginDrain();
  EXPECT_TRUE(Soon([&] { return MetricOf(nodes_[0], "lazynorm_models_held") == "0"; }));
  EXPECT_EQ(a().Train(RandomStep("m", 4, 3, 1))->step(), 2);  // it still serves
  EXPECT_EQ(b().Train(RandomStep("m", 4, 3, 1))->step(), 3);
}

}  // namespace
}  // namespace lazynorm
