// Challengers, over a real socket.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/server_fixture.h"
#include "tests/support/train_streaming.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

class ShadowTest : public ServerFixture {
 protected:
  // A challenger: a copy of "m" that learns what "m" learns.
  void SetUp() override {
    ServerFixture::SetUp();
    client().Create("m", kSpec);
    ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 1)).ok());
    v1::CopyModelRequest copy;
    copy.set_model("m");
    copy.set_model_id("s");
    ASSERT_TRUE(Connection::Call(*client().models, &v1::ModelService::Stub::CopyModel, copy).ok());
    ASSERT_TRUE(Shadow("s", "m").ok());
  }
  Answer<v1::Model> Shadow(const std::string& model, const std::string& of) {
    v1::UpdateModelRequest update;
    update.set_model(model);
    update.mutable_learning()->set_shadow_of(of);
    update.mutable_update_mask()->add_paths("learning.shadow_of");
    return Connection::Call(*client().models, &v1::ModelService::Stub::UpdateModel, update);
  }
  std::string State(const std::string& model) { return client().State(model)->SerializeAsString(); }

  static constexpr char kSpec[] = "mlp { hidden: 4 } optimizer { adam { lr: 0.01 } }";
};

TEST_F(ShadowTest, AShadowHasLearnedWhenTheTrainIsAnswered) {
  EXPECT_EQ(client().Get("s")->spec().learning().shadow_of(), "m");
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, i)).ok());
    EXPECT_EQ(client().Get("s")->step(), i + 2);
  }
  EXPECT_EQ(State("s"), State("m"));
}

TEST_F(ShadowTest, AShadowLearnsWithSettingsOfItsOwn) {
  v1::UpdateModelRequest update;
  update.set_model("s");
  update.set_learning_rate(0.1);
  ASSERT_TRUE(
      Connection::Call(*client().models, &v1::ModelService::Stub::UpdateModel, update).ok());
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 2)).ok());
  EXPECT_EQ(client().Get("s")->step(), 2);
  EXPECT_NE(State("s"), State("m"));
}

TEST_F(ShadowTest, AStreamTeachesShadowsInItsOrder) {
  TrainStreaming streaming(client());
  for (int i = 0; i < 50; ++i) streaming.stream->Write(RandomStep("m", 8, 3, i));
  streaming.stream->WritesDone();
  EXPECT_EQ(streaming.ReadAll().size(), 50u);
  EXPECT_TRUE(streaming.Finish().code == StatusCode::OK);
  EXPECT_EQ(client().Get("s")->step(), 51);
  EXPECT_EQ(State("s"), State("m"));
}

TEST_F(ShadowTest, WhatAShadowRefusesConcernsNobodyElse) {
  client().Create("wide", "mlp {} in_features: 7");
  ASSERT_TRUE(Shadow("wide", "m").ok());
  const auto step = client().Train(RandomStep("m", 8, 3, 2));
  ASSERT_TRUE(step.ok()) << step.error();
  EXPECT_EQ(step->step(), 2);
  EXPECT_EQ(client().Get("s")->step(), 2);
  EXPECT_EQ(client().Get("wide")->step(), 0);
}

TEST_F(ShadowTest, WhatTheModelRefusesNoShadowLearns) {
  EXPECT_FALSE(client().Train(RandomStep("m", 8, 4, 2)).ok());
  EXPECT_EQ(client().Get("s")->step(), 1);
}

TEST_F(ShadowTest, ARepeatedRequestTeachesAShadowOnce) {
  v1::TrainRequest request = RandomStep("m", 8, 3, 2);
  request.set_request_id("r");
  ASSERT_TRUE(client().Train(request).ok());
  ASSERT_TRUE(client().Train(request)->replayed());
  EXPECT_EQ(client().Get("s")->step(), 2);
}

TEST_F(ShadowTest, LabelsThatComeLaterTeachAShadowToo) {
  const v1::TrainRequest step = RandomStep("m", 2, 3, 2);
  v1::PredictRequest predict;
  predict.set_model("m");
  *predict.mutable_features() = step.features();
  v1::TrainRequest labels;
  labels.set_model("m");
  *labels.mutable_targets() = step.targets();
  for (const char* id : {"a", "b"}) {
    predict.add_prediction_ids(id);
    labels.add_prediction_ids(id);
  }
  ASSERT_TRUE(client().Predict(predict).ok());
  ASSERT_TRUE(client().Train(labels).ok());
  EXPECT_EQ(client().Get("s")->step(), 2);
  EXPECT_EQ(State("s"), State("m"));
}

TEST_F(ShadowTest, AShadowCanBeLetGo) {
  ASSERT_TRUE(Shadow("s", "").ok());
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 2)).ok());
  EXPECT_EQ(client().Get("s")->step(), 1);
}

TEST_F(ShadowTest, AModelThatIsMadeAgainHasItsShadowsAgain) {
  ASSERT_TRUE(client().Delete("m").ok());
  client().Create("m", kSpec);
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 2)).ok());
  EXPECT_EQ(client().Get("s")->step(), 2);
  ASSERT_TRUE(client().Delete("s").ok());
  EXPECT_TRUE(client().Train(RandomStep("m", 8, 3, 3)).ok());
}

TEST_F(ShadowTest, ShadowsHaveNoShadowsAndNoModelIsItsOwn) {
  const auto refused = Error(StatusCode::INVALID_ARGUMENT, "INVALID_UPDATE", "learning.shadow_of");
  client().Create("n", kSpec);
  EXPECT_EQ(Shadow("n", "n").error(), refused);
  EXPECT_EQ(Shadow("n", "s").error(), refused);
  EXPECT_EQ(Shadow("m", "n").error(), refused);
  EXPECT_EQ(Shadow("n", "nobody").error(), Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"));
  EXPECT_EQ(client().Create("x", "mlp {} learning { shadow_of: 's' }").error(), refused);
  EXPECT_TRUE(client().Create("y", "mlp {} learning { shadow_of: 'm' }").ok());
}

}  // namespace
}  // namespace lazynorm
