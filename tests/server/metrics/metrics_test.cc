#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lazynorm {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kRpcLabels[] =
    "grpc_method=\"Train\",grpc_service=\"lazynorm.v1.TrainingService\",grpc_type=\"unary\"";

RpcMetrics* AddTrain(Metrics& metrics) {
  return metrics.AddRpc("lazynorm.v1.TrainingService", "Train", RpcType::kUnary);
}

TrainedStep SomeStep() {
  return {.rows = 8, .prequential_loss = 0.3, .step_time = absl::Microseconds(60)};
}

LearningState SomeState() {
  static constexpr double kShifts[] = {0.5, 0.25}, kWeights[] = {0.75, 0.25};
  return {.train_loss = 1.5,
          .prequential_loss = 2.5,
          .loss_gap = -1,
          .gradient_norm = 4,
          .parameter_norm = 5,
          .batch_norm_shift = kShifts,
          .expert_weights = kWeights,
          .drift_level = 0.125};
}

// What `command` prints, both its streams.
std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(absl::StrCat(command, " 2>&1").c_str(), "r");
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
  const int exit_status = pclose(pipe);
  if (exit_status != 0) absl::StrAppend(&output, "exit status ", exit_status);
  return output;
}

TEST(MetricsTest, EverySeriesOfAnRpcIsThereFromTheStart) {
  Metrics metrics("1.2.3", "v3");
  AddTrain(metrics);
  const std::string text = metrics.Expose();
  for (const char* name : {"grpc_server_started_total", "grpc_server_msg_received_total",
                           "grpc_server_msg_sent_total", "grpc_server_handling_seconds_count"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", name, "{", kRpcLabels, "} 0\n")));
  }
  for (const char* code :
       {"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound",
        "AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted",
        "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\ngrpc_server_handled_total{grpc_code=\"", code,
                                             "\",", kRpcLabels, "} 0\n")));
  }
  EXPECT_THAT(text, HasSubstr("\nlazynorm_build_info{kernels=\"v3\",version=\"1.2.3\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nlazynorm_models 0\n"));
}

TEST(MetricsTest, CallsAreCountedByTheirCode) {
  Metrics metrics("test", "v3");
  RpcMetrics* rpc = AddTrain(metrics);
  rpc->Started();
  rpc->Received();
  rpc->Sent();
  rpc->Finished(absl::StatusCode::kCancelled, absl::Microseconds(70));
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr(absl::StrCat("grpc_server_started_total{", kRpcLabels, "} 1\n")));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("grpc_server_msg_received_total{", kRpcLabels, "} 1\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("grpc_server_msg_sent_total{", kRpcLabels, "} 1\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("{grpc_code=\"Canceled\",", kRpcLabels, "} 1\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("{grpc_code=\"OK\",", kRpcLabels, "} 0\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("bucket{", kRpcLabels, ",le=\"5e-05\"} 0\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("bucket{", kRpcLabels, ",le=\"0.0001\"} 1\n")));
}

TEST(MetricsTest, ATrainedStepShowsInEverySeriesOfItsModel) {
  Metrics metrics("test", "v3");
  const auto model = metrics.AddModel("a", {0, 4});
  model->Trained(SomeStep());
  model->SetLearning(SomeState());
  model->SetStep(3);
  model->RowsPredicted(5);
  model->RowsPredicted(2);
  model->SetStatisticsFrozen(true);
  model->SetQueueDepth(9);
  model->TrainRejected("QUEUE_FULL");
  model->TrainRejected("something from outside");
  const std::string text = metrics.Expose();
  for (const char* line :
       {"lazynorm_models 1",
        "lazynorm_train_loss{model=\"a\"} 1.5",
        "lazynorm_prequential_loss{model=\"a\"} 2.5",
        "lazynorm_prequential_loss_distribution_bucket{model=\"a\",le=\"0.25\"} 0",
        "lazynorm_prequential_loss_distribution_bucket{model=\"a\",le=\"0.5\"} 1",
        "lazynorm_model_step{model=\"a\"} 3",
        "lazynorm_rows_trained_total{model=\"a\"} 8",
        "lazynorm_rows_predicted_total{model=\"a\"} 7",
        "lazynorm_train_rejected_total{model=\"a\",reason=\"QUEUE_FULL\"} 1",
        "lazynorm_train_rejected_total{model=\"a\",reason=\"INTERNAL\"} 1",
        "lazynorm_batch_norm_shift{model=\"a\",layer=\"0\"} 0.5",
        "lazynorm_batch_norm_shift{model=\"a\",layer=\"4\"} 0.25",
        "lazynorm_expert_weight{model=\"a\",expert=\"0\"} 0.75",
        "lazynorm_expert_weight{model=\"a\",expert=\"1\"} 0.25",
        "lazynorm_drift_total{model=\"a\"} 0",
        "lazynorm_drift_level{model=\"a\"} 0.125",
        "lazynorm_loss_gap{model=\"a\"} -1",
        "lazynorm_gradient_norm{model=\"a\"} 4",
        "lazynorm_parameter_norm{model=\"a\"} 5",
        "lazynorm_statistics_frozen{model=\"a\"} 1",
        "lazynorm_train_queue_depth{model=\"a\"} 9",
        "lazynorm_step_seconds_count{model=\"a\"} 1"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", line, "\n")));
  }
}

TEST(MetricsTest, WhatOnlyLearningGivesIsShownFromTheFirstStepOn) {
  Metrics metrics("test", "v3");
  const auto model = metrics.AddModel("a", {0, 4});
  for (const int step : {0, 1, 0}) {
    model->SetLearning(SomeState());
    model->SetStep(step);
    for (const char* name : {"train_loss", "prequential_loss", "batch_norm_shift", "expert_weight",
                             "drift_level", "loss_gap", "gradient_norm", "parameter_norm"}) {
      const auto shown = HasSubstr(absl::StrCat("\nlazynorm_", name, "{model=\"a\""));
      EXPECT_EQ(testing::Value(metrics.Expose(), shown), step > 0) << name;
    }
  }
}

TEST(MetricsTest, DriftIsCountedFromZero) {
  Metrics metrics("test", "v3");
  const auto model = metrics.AddModel("a", {});
  EXPECT_THAT(metrics.Expose(), HasSubstr("\nlazynorm_drift_total{model=\"a\"} 0\n"));
  TrainedStep step = SomeStep();
  step.drift = true;
  model->Trained(step);
  model->Trained(SomeStep());
  model->Trained(step);
  EXPECT_THAT(metrics.Expose(), HasSubstr("\nlazynorm_drift_total{model=\"a\"} 2\n"));
}

TEST(MetricsTest, AnExpertThatIsNoMoreIsNotShown) {
  Metrics metrics("test", "v3");
  const auto model = metrics.AddModel("a", {});
  model->SetLearning(SomeState());
  LearningState state = SomeState();
  static constexpr double kAlone[] = {1};
  state.expert_weights = kAlone;
  model->SetLearning(state);
  model->SetStep(1);
  EXPECT_THAT(metrics.Expose(), HasSubstr("lazynorm_expert_weight{model=\"a\",expert=\"0\"} 1\n"));
  EXPECT_THAT(metrics.Expose(), Not(HasSubstr("expert=\"1\"")));
}

TEST(MetricsTest, ALossThatIsNotFiniteIsShownButKeptOutOfTheDistribution) {
  Metrics metrics("test", "v3");
  const auto model = metrics.AddModel("a", {});
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  model->Trained({.rows = 8, .prequential_loss = kInfinity});
  model->SetLearning({.prequential_loss = kInfinity});
  model->SetStep(1);
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("lazynorm_prequential_loss{model=\"a\"} +Inf\n"));
  EXPECT_THAT(text, HasSubstr("lazynorm_prequential_loss_distribution_sum{model=\"a\"} 0\n"));
}

TEST(MetricsTest, ARemovedModelIsGoneFromTheNextScrapeAndLateCallsAreHarmless) {
  Metrics metrics("test", "v3");
  const auto model = metrics.AddModel("a", {0});
  metrics.AddModel("b", {});
  model->Trained(SomeStep());
  metrics.RemoveModel("a");
  model->Trained(SomeStep());
  model->TrainRejected("QUEUE_FULL");
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, Not(HasSubstr("model=\"a\"")));
  EXPECT_THAT(text, HasSubstr("model=\"b\""));
  EXPECT_THAT(text, HasSubstr("\nlazynorm_models 1\n"));
}

TEST(MetricsTest, ANameUsedAgainBeginsAnew) {
  Metrics metrics("test", "v3");
  const auto before = metrics.AddModel("a", {});
  before->RowsPredicted(5);
  metrics.RemoveModel("a");
  const auto after = metrics.AddModel("a", {});
  before->RowsPredicted(5);
  after->RowsPredicted(1);
  EXPECT_THAT(metrics.Expose(), HasSubstr("lazynorm_rows_predicted_total{model=\"a\"} 1\n"));
}

TEST(MetricsTest, TellsWhichFilesCouldNotBeUsed) {
  Metrics metrics("1", "v3");
  EXPECT_THAT(metrics.Expose(), Not(HasSubstr("reload")));
  metrics.SetReloadFailed("tls", true);
  metrics.SetReloadFailed("tokens", true);
  metrics.SetReloadFailed("tokens", false);
  EXPECT_THAT(metrics.Expose(), HasSubstr("\nlazynorm_reload_failed{what=\"tls\"} 1\n"));
  EXPECT_THAT(metrics.Expose(), HasSubstr("\nlazynorm_reload_failed{what=\"tokens\"} 0\n"));
}

TEST(MetricsTest, WhatOnlySeveralReplicasHaveIsShownOnceItIsTold) {
  Metrics metrics("1", "v3");
  const auto model = metrics.AddModel("m", {});
  for (const char* name : {"replica", "lag", "held", "forwarded"}) {
    EXPECT_THAT(metrics.Expose(), Not(HasSubstr(name)));
  }
  model->SetReplicaLag(absl::Milliseconds(250), 3);
  metrics.SetReplicas(3, 7);
  metrics.SetReplicas(2, 8);
  metrics.SetReplicasUnreachable(2);
  metrics.SetReplicasUnreachable(1);
  metrics.Forwarded("Train");
  metrics.Forwarded("Train");
  for (const char* series : {"lazynorm_replica_lag_seconds{model=\"m\"} 0.25",
                             "lazynorm_replica_lag_steps{model=\"m\"} 3", "lazynorm_replicas 2",
                             "lazynorm_replicas_unreachable 1", "lazynorm_models_held 8",
                             "lazynorm_forwarded_total{grpc_method=\"Train\"} 2"}) {
    EXPECT_THAT(metrics.Expose(), HasSubstr(series));
  }
}

TEST(MetricsTest, PromtoolHasNothingToSay) {
  Metrics metrics("1.2.3", "v3");
  AddTrain(metrics)->Finished(absl::StatusCode::kOk, absl::Milliseconds(1));
  metrics.AddRpc("lazynorm.v1.PredictionService", "PredictStream", RpcType::kBidiStream);
  const std::string path = absl::StrCat(testing::TempDir(), "/metrics-", getpid(), ".txt");
  std::ofstream(path) << metrics.Expose();
  EXPECT_EQ(OutputOf(absl::StrCat("promtool check metrics < ", path)), "");
  const auto model = metrics.AddModel("a", {0, 4});
  metrics.AddModel("lazy", {0});
  model->Trained(SomeStep());
  model->SetLearning(SomeState());
  model->SetStep(3);
  model->TrainRejected("QUEUE_FULL");
  model->SetReplicaLag(absl::Seconds(1), 1);
  metrics.SetReplicas(3, 1);
  metrics.SetReplicasUnreachable(0);
  metrics.SetReloadFailed("tls", true);
  metrics.Forwarded("Train");
  std::ofstream(path) << metrics.Expose();
  EXPECT_EQ(OutputOf(absl::StrCat("promtool check metrics < ", path)), "");
  std::remove(path.c_str());
}

TEST(MetricsTest, MayBeUsedFromManyThreads) {
  Metrics metrics("test", "v3");
  RpcMetrics* rpc = AddTrain(metrics);
  std::atomic<bool> stop = false;
  std::thread scraper([&] {
    while (!stop) metrics.Expose();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = absl::StrCat("m", t);
      for (int i = 0; i < 50; ++i) {
        const auto model = metrics.AddModel(name, {0, 1});
        model->Trained(SomeStep());
        model->SetLearning(SomeState());
        model->SetStep(i);
        model->TrainRejected("QUEUE_FULL");
        rpc->Started();
        rpc->Finished(absl::StatusCode::kOk, absl::Milliseconds(1));
        metrics.RemoveModel(name);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  scraper.join();
  EXPECT_THAT(metrics.Expose(), HasSubstr(absl::StrCat("started_total{", kRpcLabels, "} 150\n")));
}

}  // namespace
}  // namespace lazynorm
