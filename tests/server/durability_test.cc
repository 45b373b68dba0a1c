// What was acknowledged is there after a restart, over the socket and on a real disk.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;
namespace fs = std::filesystem;

constexpr char kSpec[] =
    "mlp { hidden: 8 normalize_input: true dropout: 0.1 } optimizer { adam { lr: 0.01 } } "
    "learning { normalize_targets: true "
    "experts { replay { capacity: 50 rows_per_step: 8 } updates_per_request: 2 } experts {} }";

// The i-th thing that happens to model "m", the same on any server.
void Do(Connection& client, int i) {
  v1::TrainRequest step = RandomStep("m", 6, 3, i);
  step.set_request_id(absl::StrCat("request-", i));
  if (i % 10 == 3) {  // asked now, answered below
    v1::PredictRequest question;
    question.set_model("m");
    *question.mutable_features() = step.features();
    for (int k = 0; k < 6; ++k) question.add_prediction_ids(absl::StrCat("id-", k));
    ASSERT_TRUE(client.Predict(question).ok());
    return;
  }
  if (i % 10 == 7) {
    step.clear_features();
    for (int k = 0; k < 6; ++k) step.add_prediction_ids(absl::StrCat("id-", k));
  }
  if (i == 15) client.Freeze("m");
  if (i == 18) client.Unfreeze("m");
  if (i == 22) {
    v1::UpdateModelRequest update;
    update.set_model("m");
    update.set_learning_rate(0.003);
    ASSERT_TRUE(
        Connection::Call(*client.models, &v1::ModelService::Stub::UpdateModel, update).ok());
  }
  const auto trained = client.Train(step);
  ASSERT_TRUE(trained.ok()) << trained.error();
}

// All that can be seen of a model's numbers.
std::string Seen(Connection& client) {
  const auto model = client.Get("m");
  return absl::StrCat(client.State("m")->SerializeAsString(), model->spec().SerializeAsString(),
                      model->step(), " ", model->rows_trained(), " ", model->statistics_frozen());
}

class DurabilityTest : public ServerFixture {
 protected:
  void SetUp() override {
    std::string folder = (fs::temp_directory_path() / "lazynorm.XXXXXX").string();
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    Start(Kept());
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
    fs::remove_all(folder_);
  }
  Options Kept() const {
    Options options = TestOptions();
    options.store.clear();
    options.data_dir = folder_ / "data";
    return options;
  }
  void Restart() { Start(Kept()); }
  // What a server shows that did the first `count` things and was never stopped.
  std::string Uninterrupted(int count) {
    auto other = Server::Start(TestOptions());
    EXPECT_TRUE(other.ok()) << other.status();
    Connection client((*other)->ports()[0]);
    EXPECT_TRUE(client.Create("m", kSpec).ok());
    for (int i = 0; i < count; ++i) Do(client, i);
    return Seen(client);
  }
  template <class Response, class Request>
  Answer<Response> Call(grpc::Status (v1::ModelService::Stub::*method)(grpc::ClientContext*,
                                                                       const Request&, Response*),
                        const Request& request) {
    return Connection::Call(*client().models, method, request);
  }
  v1::Checkpoint Checkpoint(const std::string& label) {
    v1::CreateCheckpointRequest request;
    request.set_model("m");
    request.set_label(label);
    const auto made = Call(&v1::ModelService::Stub::CreateCheckpoint, request);
    EXPECT_TRUE(made.ok()) << made.error();
    return made.response;
  }
  Answer<v1::Model> Restore(const std::string& id) {
    v1::RestoreCheckpointRequest request;
    request.set_model("m");
    request.set_checkpoint_id(id);
    return Call(&v1::ModelService::Stub::RestoreCheckpoint, request);
  }
  Answer<v1::Model> RestoreStep(int64_t step) {
    v1::RestoreCheckpointRequest request;
    request.set_model("m");
    request.set_step(step);
    return Call(&v1::ModelService::Stub::RestoreCheckpoint, request);
  }
  // Changes one byte of the first record of the journal that holds `text`.
  void Damage(const std::string& text) {
    for (const char* name : {"lazynorm.journal", "lazynorm.db", "lazynorm.db-wal"}) {
      const fs::path path = folder_ / "data" / name;
      std::ifstream in(path, std::ios::binary);
      std::string bytes((std::istreambuf_iterator<char>(in)), {});
      const size_t at = bytes.find(text);
      if (at == std::string::npos) continue;
      bytes[at] ^= 1;
      std::ofstream(path, std::ios::binary) << bytes;
      return;
    }
    FAIL() << "nothing holds " << text;
  }

  fs::path folder_;
};

TEST_F(DurabilityTest, ARestartedServerGoesOnAsIfNothingHadHappened) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int i = 0; i < 60; ++i) {
    if (i == 5 || i == 16 || i == 24 || i == 47) Restart();
    Do(client(), i);
  }
  Restart();
  EXPECT_TRUE(Seen(client()) == Uninterrupted(60));
}

TEST_F(DurabilityTest, MetricsStandAfterARestartWhereTheyStoodBefore) {
  const auto gauges = [&] {
    std::vector<std::string> values;
    for (const char* name :
         {"model_step{model=\"m\"", "train_loss{model=\"m\"", "prequential_loss{model=\"m\"",
          "loss_gap{model=\"m\"", "gradient_norm{model=\"m\"", "parameter_norm{model=\"m\"",
          "drift_level{model=\"m\"", "batch_norm_shift{model=\"m\",layer=\"0\"",
          "expert_weight{model=\"m\",expert=\"1\""}) {
      values.push_back(Metric(absl::StrCat("lazynorm_", name, "}")));
      EXPECT_NE(values.back(), "") << name;
    }
    return values;
  };
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int i = 0; i < 20; ++i) Do(client(), i);
  const std::vector<std::string> before = gauges();
  Restart();
  EXPECT_EQ(gauges(), before);
}

TEST_F(DurabilityTest, SnapshotsChangeNothing) {
  Options options = Kept();
  options.replay_budget = absl::Microseconds(1);  // one after nearly every turn
  Start(options);
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int i = 0; i < 60; ++i) {
    if (i % 20 == 14) Start(options);
    Do(client(), i);
  }
  Start(options);
  EXPECT_TRUE(Seen(client()) == Uninterrupted(60));
}

TEST_F(DurabilityTest, ARetryAfterARestartIsAnsweredAgainAndNotTrained) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  v1::TrainRequest request = RandomStep("m", 6, 3, 1);
  request.set_request_id("once");
  const auto first = client().Train(request);
  Restart();
  const auto again = client().Train(request);
  ASSERT_TRUE(again.ok()) << again.error();
  EXPECT_TRUE(again->replayed());
  EXPECT_EQ(again->loss(), first->loss());
  EXPECT_EQ(client().Get("m")->step(), 1);
}

TEST_F(DurabilityTest, TheWidthThatAPredictGaveALazyModelStays) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  v1::PredictRequest request;
  request.set_model("m");
  *request.mutable_features() = RandomStep("m", 2, 5, 1).features();
  const auto before = client().Predict(request);
  Restart();
  EXPECT_EQ(client().Get("m")->in_features(), 5);
  EXPECT_EQ(client().Predict(request)->SerializeAsString(), before->SerializeAsString());
}

TEST_F(DurabilityTest, DeletedModelsStayDeletedAndTheirNamesAreFree) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  Do(client(), 0);
  ASSERT_TRUE(client().Delete("m").ok());
  Restart();
  EXPECT_EQ(client().Get("m").status.error_code(), StatusCode::NOT_FOUND);
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  Restart();
  EXPECT_EQ(client().Get("m")->step(), 0);
}

TEST_F(DurabilityTest, WhatIsSeenOfAModelSurvives) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int i = 0; i < 12; ++i) Do(client(), i);
  const v1::Model before = client().Get("m").response;
  Restart();
  EXPECT_EQ(client().Get("m")->SerializeAsString(), before.SerializeAsString());
}

TEST_F(DurabilityTest, ShadowsAreShadowsAgain) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  ASSERT_TRUE(client().Create("s", "mlp {} learning { shadow_of: 'm' }").ok());
  Restart();
  ASSERT_TRUE(client().Train(RandomStep("m", 6, 3, 1)).ok());
  EXPECT_EQ(client().Get("s")->step(), 1);
}

TEST_F(DurabilityTest, ACheckpointBringsBackEveryBitAlsoAfterARestart) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int i = 0; i < 20; ++i) Do(client(), i);
  const std::string then = Seen(client());
  const v1::Checkpoint checkpoint = Checkpoint("before");
  EXPECT_EQ(checkpoint.label(), "before");
  EXPECT_EQ(checkpoint.step(), client().Get("m")->step());
  EXPECT_GT(checkpoint.size_bytes(), 0);
  for (int i = 20; i < 40; ++i) Do(client(), i);
  const std::string later = Seen(client());
  const int64_t step = client().Get("m")->step();
  Restart();
  const auto restored = Restore(checkpoint.checkpoint_id());
  ASSERT_TRUE(restored.ok()) << restored.error();
  EXPECT_EQ(restored->step(), checkpoint.step());
  EXPECT_TRUE(Seen(client()) == then);
  Restart();
  EXPECT_TRUE(Seen(client()) == then);
  // Undone: back to the last step before it.
  ASSERT_TRUE(RestoreStep(step).ok());
  EXPECT_TRUE(Seen(client()) == later);
  // And the same steps from the checkpoint lead to the same state.
  ASSERT_TRUE(Restore(checkpoint.checkpoint_id()).ok());
  for (int i = 20; i < 40; ++i) Do(client(), i);
  EXPECT_TRUE(Seen(client()) == later);
}

TEST_F(DurabilityTest, EveryPastStepWithinReachComesBack) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  std::vector<std::string> states;
  for (int i = 0; i < 3; ++i) {
    Do(client(), i);
    states.push_back(client().State("m")->SerializeAsString());
  }
  for (int64_t step = 3; step >= 1; --step) {
    ASSERT_TRUE(RestoreStep(step).ok());
    EXPECT_EQ(client().Get("m")->step(), step);
    EXPECT_TRUE(client().State("m")->SerializeAsString() == states[step - 1]);
  }
  EXPECT_EQ(RestoreStep(4).error(), Error(StatusCode::OUT_OF_RANGE, "STEP_NOT_KEPT"));
  EXPECT_EQ(RestoreStep(-1).error(), Error(StatusCode::OUT_OF_RANGE, "STEP_NOT_KEPT"));
}

TEST_F(DurabilityTest, CheckpointsAreListedDeletedAndTheOldestGo) {
  Options options = Kept();
  options.checkpoints_per_model = 2;
  Start(options);
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  const std::string first = Checkpoint("a").checkpoint_id();
  const std::string second = Checkpoint("b").checkpoint_id();
  Checkpoint("c");
  v1::ListCheckpointsRequest list;
  list.set_model("m");
  auto all = Call(&v1::ModelService::Stub::ListCheckpoints, list);
  ASSERT_EQ(all->checkpoints_size(), 2);
  EXPECT_EQ(all->checkpoints(0).label(), "b");
  EXPECT_EQ(all->checkpoints(1).label(), "c");
  const auto gone = Error(StatusCode::NOT_FOUND, "CHECKPOINT_NOT_FOUND");
  EXPECT_EQ(Restore(first).error(), gone);
  v1::DeleteCheckpointRequest remove;
  remove.set_model("m");
  remove.set_checkpoint_id(second);
  EXPECT_TRUE(Call(&v1::ModelService::Stub::DeleteCheckpoint, remove).ok());
  EXPECT_EQ(Call(&v1::ModelService::Stub::DeleteCheckpoint, remove).error(), gone);
  Start(options);
  all = Call(&v1::ModelService::Stub::ListCheckpoints, list);
  ASSERT_EQ(all->checkpoints_size(), 1);
  list.set_model("nobody");
  EXPECT_EQ(Call(&v1::ModelService::Stub::ListCheckpoints, list).error(),
            Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"));
}

TEST_F(DurabilityTest, WhatARestoreIsAskedForMustBeClear) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  EXPECT_EQ(Restore("").error(), Invalid("INVALID_UPDATE", "checkpoint_id"));
  v1::CreateCheckpointRequest request;
  request.set_model("m");
  request.set_label(std::string(257, 'x'));
  EXPECT_EQ(Call(&v1::ModelService::Stub::CreateCheckpoint, request).error(),
            Invalid("LIMIT_EXCEEDED", "label"));
}

TEST_F(DurabilityTest, ABackupTakenUnderLoadIsAWholeStore) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int i = 0; i < 10; ++i) Do(client(), i);
  std::atomic<bool> stop = false;
  std::thread load([&] {
    for (int i = 10; !stop; ++i) Do(client(), i);
  });
  grpc::ClientContext context;
  const auto reader = client().models->Backup(&context, v1::BackupRequest());
  const fs::path backup = folder_ / "backup";
  fs::create_directories(backup);
  std::ofstream file(backup / "lazynorm.db", std::ios::binary);
  v1::BackupResponse piece;
  int64_t bytes = 0;
  while (reader->Read(&piece)) {
    file << piece.data();
    bytes += static_cast<int64_t>(piece.data().size());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(bytes, piece.size_bytes());
  file.close();
  stop = true;
  load.join();
  Options options = Kept();
  options.data_dir = folder_ / "restored";
  options.restore_from = backup;
  Start(options);
  const int64_t step = client().Get("m")->step();
  EXPECT_GE(step, 9);
  const std::string restored = client().State("m")->SerializeAsString();
  // The first data directory again, which still knows that step.
  Restart();
  ASSERT_TRUE(RestoreStep(step).ok());
  EXPECT_TRUE(client().State("m")->SerializeAsString() == restored);
  // Into an empty data directory only.
  EXPECT_FALSE(Server::Start(options).ok());
}

TEST_F(DurabilityTest, ADamagedModelIsNamedAndTheOthersServe) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  ASSERT_TRUE(client().Create("other", kSpec).ok());
  v1::TrainRequest request = RandomStep("m", 6, 3, 1);
  request.set_request_id("the-record-that-breaks");
  ASSERT_TRUE(client().Train(request).ok());
  ASSERT_TRUE(client().Train(RandomStep("m", 6, 3, 2)).ok());
  client_.reset();
  server_.reset();
  Damage("the-record-that-breaks");
  Options strict = Kept();
  strict.recover = "strict";
  const auto refused = Server::Start(strict);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kDataLoss) << refused.status();
  Restart();
  const auto damaged = Error(StatusCode::DATA_LOSS, "MODEL_DAMAGED");
  EXPECT_EQ(client().Get("m").error(), damaged);
  EXPECT_EQ(client().Train(request).error(), damaged);
  EXPECT_EQ(client().Health("models/m"), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_TRUE(client().Train(RandomStep("other", 6, 3, 1)).ok());
  EXPECT_EQ(client().Create("m", kSpec).status.error_code(), StatusCode::ALREADY_EXISTS);
  ASSERT_TRUE(client().Delete("m").ok());
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  Restart();
  EXPECT_EQ(client().Get("m")->step(), 0);
}

TEST_F(DurabilityTest, ASecondServerIsRefusedByName) {
  const auto second = Server::Start(Kept());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
  EXPECT_NE(second.status().message().find(absl::StrCat("process ", getpid())),
            absl::string_view::npos)
      << second.status();
}

TEST_F(DurabilityTest, ManyModelsComeBackTogether) {
  constexpr int kModels = 50;
  for (int k = 0; k < kModels; ++k) {
    ASSERT_TRUE(client().Create(absl::StrCat("m", k), "mlp { hidden: 4 }").ok());
    for (int i = 0; i <= k % 3; ++i) {
      ASSERT_TRUE(client().Train(RandomStep(absl::StrCat("m", k), 6, 3, i)).ok());
    }
  }
  Restart();
  for (int k = 0; k < kModels; ++k) {
    EXPECT_EQ(client().Get(absl::StrCat("m", k))->step(), k % 3 + 1);
  }
}

}  // namespace
}  // namespace lazynorm
