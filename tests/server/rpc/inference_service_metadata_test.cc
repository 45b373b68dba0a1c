#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "server/rpc/inference_service.h"
#include "tests/server/rpc/inference_fixture.h"

namespace lazynorm {
namespace {

TEST_F(InferenceServiceTest, TheServerTellsAboutItself) {
  EXPECT_TRUE(Call(&Stub::ServerLive, inference::ServerLiveRequest())->live());
  EXPECT_TRUE(Call(&Stub::ServerReady, inference::ServerReadyRequest())->ready());
  const auto metadata = Call(&Stub::ServerMetadata, inference::ServerMetadataRequest());
  EXPECT_EQ(metadata->name(), "lazynorm");
  EXPECT_EQ(metadata->version(), Version());
  EXPECT_EQ(std::vector<std::string>(metadata->extensions().begin(), metadata->extensions().end()),
            (std::vector<std::string>{"model_configuration", "statistics", "lazynorm.v1"}));
  EXPECT_EQ(client().Health("inference.GRPCInferenceService"),
            grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(InferenceServiceTest, AServerThatDrainsIsLiveAndNotReady) {
  server_->BeginDrain();
  EXPECT_TRUE(Call(&Stub::ServerLive, inference::ServerLiveRequest())->live());
  const auto ready = Call(&Stub::ServerReady, inference::ServerReadyRequest());
  EXPECT_TRUE(ready.ok()) << ready.error();
  EXPECT_FALSE(ready->ready());
  EXPECT_FALSE(ModelReady("m"));
  EXPECT_TRUE(Infer(RawQuery("m", RandomMatrix(2, 3, 1))).ok());  // still served
  EXPECT_EQ(client().Health("inference.GRPCInferenceService"),
            grpc::health::v1::HealthCheckResponse::NOT_SERVING);
}

TEST_F(InferenceServiceTest, AModelTellsAboutItself) {
  ASSERT_TRUE(client()
                  .Create("ce",
                          "mlp { out_features: 3 } in_features: 4 "
                          "loss { kind: LOSS_KIND_CROSS_ENTROPY }")
                  .ok());
  const auto metadata = Call(&Stub::ModelMetadata, Named<inference::ModelMetadataRequest>("ce"));
  ASSERT_TRUE(metadata.ok()) << metadata.error();
  EXPECT_EQ(metadata->ShortDebugString(),
            "name: \"ce\" versions: \"0\" platform: \"lazynorm_mlp\" "
            "inputs { name: \"features\" datatype: \"FP32\" shape: -1 shape: 4 } "
            "outputs { name: \"predictions\" datatype: \"FP32\" shape: -1 shape: 3 } "
            "outputs { name: \"probabilities\" datatype: \"FP32\" shape: -1 shape: 3 }");
  const auto config = Call(&Stub::ModelConfig, Named<inference::ModelConfigRequest>("ce"));
  EXPECT_EQ(config->ShortDebugString(),
            "config { name: \"ce\" platform: \"lazynorm_mlp\" max_batch_size: 65536 "
            "input { name: \"features\" data_type: TYPE_FP32 dims: 4 } "
            "output { name: \"predictions\" data_type: TYPE_FP32 dims: 3 } "
            "output { name: \"probabilities\" data_type: TYPE_FP32 dims: 3 } "
            "backend: \"lazynorm\" }");
  const auto lazy = Call(&Stub::ModelConfig, Named<inference::ModelConfigRequest>("m"));
  EXPECT_EQ(lazy->config().input(0).dims(0), -1);
  EXPECT_TRUE(ModelReady("ce"));
  EXPECT_FALSE(ModelReady("nobody"));
  EXPECT_EQ(Call(&Stub::ModelMetadata, Named<inference::ModelMetadataRequest>("nobody")).error(),
            kNotFound);
  EXPECT_EQ(Call(&Stub::ModelConfig, Named<inference::ModelConfigRequest>("nobody")).error(),
            kNotFound);
}

TEST_F(InferenceServiceTest, RowsAreCountedWhateverProtocolAskedForThem) {
  Train(1);
  const int64_t begin = absl::ToUnixMillis(absl::Now());
  ASSERT_TRUE(Infer(RawQuery("m", RandomMatrix(5, 3, 1))).ok());
  ASSERT_TRUE(client().Predict(RandomQuery("m", 2, 3, 1)).ok());
  ASSERT_FALSE(Infer(RawQuery("m", RandomMatrix(5, 4, 1))).ok());
  ASSERT_FALSE(client().Predict(RandomQuery("m", 0, 3, 1)).ok());
  EXPECT_EQ(Metric("lazynorm_rows_predicted_total{model=\"m\"}"), "7");
  EXPECT_EQ(Metric("grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"ModelInfer\","
                   "grpc_service=\"inference.GRPCInferenceService\",grpc_type=\"unary\"}"),
            "1");
  const auto answer =
      Call(&Stub::ModelStatistics, Named<inference::ModelStatisticsRequest>("m", "1"));
  ASSERT_TRUE(answer.ok()) << answer.error();
  ASSERT_EQ(answer->model_stats_size(), 1);
  const inference::ModelStatistics& statistics = answer->model_stats(0);
  EXPECT_EQ(statistics.name(), "m");
  EXPECT_EQ(statistics.version(), "1");
  EXPECT_EQ(statistics.inference_count(), 7);
  EXPECT_EQ(statistics.execution_count(), 2);
  EXPECT_GE(statistics.last_inference(), begin);
  EXPECT_LE(statistics.last_inference(), absl::ToUnixMillis(absl::Now()));
  const auto& stats = statistics.inference_stats();
  EXPECT_EQ(stats.success().count(), 2);
  EXPECT_EQ(stats.fail().count(), 2);
  EXPECT_EQ(stats.compute_infer().count(), 2);
  EXPECT_GT(stats.compute_infer().ns(), 0);
  EXPECT_EQ(stats.success().ns(), stats.queue().ns() + stats.compute_infer().ns());
}

TEST_F(InferenceServiceTest, StatisticsOfAllModelsAreAskedForWithoutAName) {
  client().Create("other", "mlp {}");
  const auto all = Call(&Stub::ModelStatistics, inference::ModelStatisticsRequest());
  ASSERT_EQ(all->model_stats_size(), 2);
  EXPECT_EQ(all->model_stats(0).name(), "m");
  EXPECT_EQ(all->model_stats(0).last_inference(), 0);
  EXPECT_EQ(all->model_stats(1).name(), "other");
  EXPECT_EQ(Call(&Stub::ModelStatistics, Named<inference::ModelStatisticsRequest>("no")).error(),
            kNotFound);
}

TEST_F(InferenceServiceTest, TheRepositoryHasEveryModelLoaded) {
  Train(3);
  client().Create("other", "mlp {}");
  inference::RepositoryIndexRequest request;
  request.set_ready(true);
  const auto index = Call(&Stub::RepositoryIndex, request);
  EXPECT_EQ(index->ShortDebugString(),
            "models { name: \"m\" version: \"3\" state: \"READY\" } "
            "models { name: \"other\" version: \"0\" state: \"READY\" }");

  inference::RepositoryModelLoadRequest load;
  load.set_model_name("m");
  const auto loaded = Call(&Stub::RepositoryModelLoad, load);
  ASSERT_TRUE(loaded.ok()) << loaded.error();
  EXPECT_EQ(loaded->model_name(), "m");
  EXPECT_TRUE(loaded->is_loaded());
  load.set_model_name("nobody");
  EXPECT_EQ(Call(&Stub::RepositoryModelLoad, load).error(), kNotFound);
  // A dialect has the model's name in field 1.
  load.Clear();
  load.set_repository_name("other");
  EXPECT_EQ(Call(&Stub::RepositoryModelLoad, load)->model_name(), "other");

  const auto unloaded =
      Call(&Stub::RepositoryModelUnload, inference::RepositoryModelUnloadRequest());
  EXPECT_EQ(unloaded.error().code, StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(absl::StrContains(unloaded.error().message, "DeleteModel"));
}

}  // namespace
}  // namespace lazynorm
