// Each limit on what a request may be: the last that is allowed, and the first that is not.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

class LimitsTest : public ServerFixture {
 protected:
  template <class Change>
  void StartWith(Change change) {
    Options options = TestOptions();
    change(options);
    Start(options);
  }
};

TEST_F(LimitsTest, Bytes) {
  v1::TrainRequest request = RandomStep("m", 100, 100, 1);
  request.set_request_id("x");
  const auto size = static_cast<int64_t>(request.ByteSizeLong());
  StartWith([size](Options& o) { o.max_message_bytes = size; });
  client().Create("m", "mlp {}");
  EXPECT_TRUE(client().Train(request).ok());
  request.set_request_id("xy");
  EXPECT_EQ(client().Train(request).status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(client().Get("m")->step(), 1);
}

TEST_F(LimitsTest, Rows) {
  StartWith([](Options& o) { o.max_rows_per_request = 7; });
  client().Create("m", "mlp {}");
  EXPECT_TRUE(client().Train(RandomStep("m", 7, 2, 1)).ok());
  EXPECT_TRUE(client().Predict(RandomQuery("m", 7, 2, 1)).ok());
  EXPECT_TRUE(client().Evaluate(AsEvaluation(RandomStep("m", 7, 2, 1))).ok());
  const ErrorDetails refused = Invalid("LIMIT_EXCEEDED", "features.rows");
  EXPECT_EQ(client().Train(RandomStep("m", 8, 2, 1)).error(), refused);
  EXPECT_EQ(client().Predict(RandomQuery("m", 8, 2, 1)).error(), refused);
  EXPECT_EQ(client().Evaluate(AsEvaluation(RandomStep("m", 8, 2, 1))).error(), refused);
}

TEST_F(LimitsTest, Width) {
  StartWith([](Options& o) { o.max_width = 6; });
  EXPECT_TRUE(client().Create("m", "mlp { hidden: 6 }").ok());
  EXPECT_EQ(client().Create("n", "mlp { hidden: 7 }").error().reason, "LIMIT_EXCEEDED");
  EXPECT_EQ(client().Predict(RandomQuery("m", 2, 7, 1)).error(),
            Invalid("LIMIT_EXCEEDED", "features.columns"));
  EXPECT_TRUE(client().Predict(RandomQuery("m", 2, 6, 1)).ok());
}

TEST_F(LimitsTest, Parameters) {
  StartWith([](Options& o) { o.max_parameters = 10; });
  EXPECT_TRUE(client().Create("m", "mlp {} in_features: 9").ok());  // 9 weights and a bias
  EXPECT_EQ(client().Create("n", "mlp {} in_features: 10").error().reason, "LIMIT_EXCEEDED");
  ASSERT_TRUE(client().Create("lazy", "mlp {}").ok());
  EXPECT_EQ(client().Train(RandomStep("lazy", 2, 10, 1)).error().reason, "LIMIT_EXCEEDED");
  EXPECT_TRUE(client().Train(RandomStep("lazy", 2, 9, 1)).ok());
}

TEST_F(LimitsTest, Models) {
  StartWith([](Options& o) { o.max_models = 3; });
  for (const char* id : {"a", "b", "c"}) EXPECT_TRUE(client().Create(id, "mlp {}").ok()) << id;
  EXPECT_EQ(client().Create("d", "mlp {}").error(),
            Error(StatusCode::RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"));
  EXPECT_TRUE(client().Delete("b").ok());
  EXPECT_TRUE(client().Create("d", "mlp {}").ok());
}

TEST_F(LimitsTest, Streams) {
  StartWith([](Options& o) { o.max_streams = 3; });
  client().Create("m", "mlp {}");
  v1::WatchModelRequest request;
  request.set_model("m");
  v1::ModelStatus status;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::ModelStatus>>> watches;
  const auto watch = [&] {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    watches.push_back(client().models->WatchModel(contexts.back().get(), request));
    return watches.back()->Read(&status);
  };
  EXPECT_TRUE(watch() && watch() && watch());
  EXPECT_FALSE(watch());
  EXPECT_EQ(DetailsOf(watches.back()->Finish()),
            Error(StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS"));
  for (const auto& context : contexts) context->TryCancel();
  for (size_t i = 0; i < 3; ++i) watches[i]->Finish();
  EXPECT_TRUE(Soon(watch));
  contexts.back()->TryCancel();
  watches.back()->Finish();
}

}  // namespace
}  // namespace lazynorm
