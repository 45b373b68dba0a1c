#include "server/rpc/model_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;
using Stub = v1::ModelService::Stub;

class ModelServiceTest : public ServerFixture {
 protected:
  Answer<v1::ListModelsResponse> List(int page_size, const std::string& token = "") {
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(token);
    return Connection::Call(*client().models, &Stub::ListModels, request);
  }
  Answer<v1::Model> Update(const std::string& text) {
    return Connection::Call(*client().models, &Stub::UpdateModel,
                            Parse<v1::UpdateModelRequest>(text));
  }
  Answer<v1::Model> Copy(const std::string& model, const std::string& id) {
    v1::CopyModelRequest request;
    request.set_model(model);
    request.set_model_id(id);
    return Connection::Call(*client().models, &Stub::CopyModel, request);
  }
  ErrorDetails CreateError(const std::string& spec) { return client().Create("m", spec).error(); }
};

const ErrorDetails kNotFound = Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND");

std::vector<std::string> Ids(const v1::ListModelsResponse& page) {
  std::vector<std::string> ids;
  for (const v1::Model& model : page.models()) ids.push_back(model.model_id());
  return ids;
}

TEST_F(ModelServiceTest, ACreatedModelAnswersWithItsSpecWrittenOut) {
  const auto model = client().Create("m", "mlp { hidden: 4 } seed: 3");
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->model_id(), "m");
  EXPECT_FALSE(model->spec().has_mlp());
  ASSERT_EQ(model->spec().layers_size(), 4);
  EXPECT_EQ(model->spec().layers(0).linear().out_features(), 4);
  EXPECT_EQ(model->spec().layers(1).batch_norm().momentum(), 0.1);
  EXPECT_EQ(model->spec().layers(2).activation().kind(), v1::ACTIVATION_KIND_RELU);
  EXPECT_EQ(model->spec().layers(3).linear().out_features(), 1);
  EXPECT_EQ(model->spec().loss().kind(), v1::LOSS_KIND_MSE);
  EXPECT_EQ(model->spec().optimizer().adam().lr(), 1e-3);
  EXPECT_EQ(model->spec().seed(), 3u);
  EXPECT_EQ(model->state(), v1::STATE_LAZY);
  EXPECT_EQ(model->step() + model->rows_trained() + model->in_features(), 0);
  EXPECT_EQ(model->out_features(), 1);
  EXPECT_EQ(model->parameter_count(), 0);
  EXPECT_FALSE(model->statistics_frozen());
  EXPECT_GT(model->create_time().seconds(), 1'600'000'000);
  EXPECT_EQ(model->update_time().seconds(), model->create_time().seconds());
  EXPECT_EQ(client().Get("m")->ShortDebugString(), model->ShortDebugString());
}

TEST_F(ModelServiceTest, WithItsWidthGivenAModelIsReadyAtOnce) {
  const auto model = client().Create("m", "mlp { hidden: 4 } in_features: 3");
  EXPECT_EQ(model->state(), v1::STATE_READY);
  EXPECT_EQ(model->in_features(), 3);
  EXPECT_EQ(model->parameter_count(), 3 * 4 + 4 + 2 * 4 + 4 + 1);
}

TEST_F(ModelServiceTest, TheSameSpecAndSeedDrawTheSameParameters) {
  for (const char* id : {"a", "b"}) client().Create(id, "mlp { hidden: 4 } in_features: 3 seed: 9");
  client().Create("c", "mlp { hidden: 4 } in_features: 3 seed: 10");
  EXPECT_EQ(client().State("a")->SerializeAsString(), client().State("b")->SerializeAsString());
  EXPECT_NE(client().State("a")->SerializeAsString(), client().State("c")->SerializeAsString());
}

TEST_F(ModelServiceTest, BadSpecsAreRefusedWithTheirField) {
  EXPECT_EQ(CreateError(""), Invalid("INVALID_SPEC", "spec.layers"));
  EXPECT_EQ(CreateError("mlp { dropout: 1.5 }"), Invalid("INVALID_SPEC", "spec.mlp.dropout"));
  EXPECT_EQ(CreateError("layers { linear {} } layers { activation {} }"),
            Invalid("INVALID_SPEC", "spec.layers[1].activation.kind"));
  EXPECT_EQ(CreateError("mlp {} optimizer { adam { lr: -1 } }"),
            Invalid("INVALID_SPEC", "spec.optimizer.adam.lr"));
  EXPECT_EQ(CreateError("mlp {} learning { clip_grad_norm: nan }"),
            Invalid("INVALID_SPEC", "spec.learning.clip_grad_norm"));
  EXPECT_EQ(CreateError("mlp {} loss { kind: LOSS_KIND_CROSS_ENTROPY }"),
            Invalid("INVALID_SPEC", "spec.loss.kind"));
  EXPECT_EQ(client().Get("m").error(), kNotFound);
}

TEST_F(ModelServiceTest, BadIdsAreRefused) {
  for (const char* id : {"", "A", "9", "a-", "a_b"}) {
    EXPECT_EQ(client().Create(id, "mlp {}").error(), Invalid("INVALID_MODEL_ID", "model_id")) << id;
  }
}

TEST_F(ModelServiceTest, AnIdIsTakenOnce) {
  ASSERT_TRUE(client().Create("m", "mlp {}").ok());
  EXPECT_EQ(CreateError("mlp {}"), Error(StatusCode::ALREADY_EXISTS, "MODEL_EXISTS"));
}

TEST_F(ModelServiceTest, LimitsAreTheLastThatIsAllowed) {
  Options options = TestOptions();
  options.max_models = 2;
  options.max_width = 8;
  options.max_parameters = 50;
  Start(options);
  EXPECT_EQ(CreateError("mlp { out_features: 9 }"),
            Invalid("LIMIT_EXCEEDED", "spec.layers[0].linear.out_features"));
  EXPECT_EQ(CreateError("mlp {} in_features: 9"), Invalid("LIMIT_EXCEEDED", "spec.in_features"));
  const std::string fifty = "layers { linear { out_features: 5 } } layers { batch_norm {} } ";
  EXPECT_EQ(CreateError(fifty + "in_features: 8").reason, "LIMIT_EXCEEDED");  // 55 parameters
  EXPECT_TRUE(client().Create("a", fifty + "in_features: 7").ok());           // 50
  EXPECT_TRUE(client().Create("b", "mlp { out_features: 8 }").ok());
  const ErrorDetails third = CreateError("mlp {}");
  EXPECT_EQ(third, Error(StatusCode::RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"));
  EXPECT_GT(third.retry_after, absl::ZeroDuration());
}

TEST_F(ModelServiceTest, AnInitialStateResolvesTheModelAndIsItsState) {
  client().Create("a", "mlp { hidden: 2 } seed: 1");
  ASSERT_TRUE(client().Train(RandomStep("a", 6, 3, 1)).ok());
  const auto state = client().State("a");
  EXPECT_EQ(state->step(), 1);
  v1::CreateModelRequest request;
  request.set_model_id("b");
  *request.mutable_spec() = Parse<v1::ModelSpec>("mlp { hidden: 2 } seed: 2");
  *request.mutable_initial_state() = state->tensors();
  std::reverse(request.mutable_initial_state()->pointer_begin(),
               request.mutable_initial_state()->pointer_end());  // in any order
  const auto model = client().Create(request);
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->state(), v1::STATE_READY);
  EXPECT_EQ(model->in_features(), 3);
  EXPECT_EQ(model->step(), 0);
  const auto copy = client().State("b");
  ASSERT_EQ(copy->tensors_size(), state->tensors_size());
  for (int i = 0; i < copy->tensors_size(); ++i) {
    EXPECT_EQ(copy->tensors(i).SerializeAsString(), state->tensors(i).SerializeAsString());
  }
}

TEST_F(ModelServiceTest, AnInitialStateHoldsEveryTensorAndNothingElse) {
  client().Create("a", "mlp { hidden: 2 } in_features: 3");
  v1::CreateModelRequest good;
  good.set_model_id("m");
  *good.mutable_spec() = Parse<v1::ModelSpec>("mlp { hidden: 2 }");
  *good.mutable_initial_state() = client().State("a")->tensors();
  const auto error_with = [&](const std::function<void(v1::CreateModelRequest&)>& change) {
    v1::CreateModelRequest request = good;
    change(request);
    return client().Create(request).error();
  };
  using Request = v1::CreateModelRequest;
  EXPECT_EQ(error_with([](Request& r) { r.mutable_initial_state()->RemoveLast(); }),
            Invalid("INVALID_STATE", "initial_state"));
  EXPECT_EQ(error_with([](Request& r) { *r.add_initial_state() = r.initial_state(0); }).reason,
            "INVALID_STATE");
  EXPECT_EQ(error_with([](Request& r) { r.mutable_initial_state(0)->set_name("9.weight"); }).reason,
            "INVALID_STATE");
  EXPECT_EQ(error_with([](Request& r) { r.mutable_initial_state(1)->add_values(1); }).reason,
            "INVALID_STATE");
  EXPECT_EQ(error_with([](Request& r) { r.mutable_initial_state(0)->set_values(2, NAN); }),
            Invalid("INVALID_STATE", "initial_state[0].values[2]"));
  EXPECT_EQ(error_with([](Request& r) { r.mutable_initial_state(0)->add_shape(1); }).reason,
            "INVALID_STATE");
  EXPECT_EQ(client().Get("m").error(), kNotFound);
  EXPECT_TRUE(client().Create(good).ok());
}

TEST_F(ModelServiceTest, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(client().Get("m").error(), kNotFound);
  EXPECT_EQ(client().Delete("m").error(), kNotFound);
  EXPECT_EQ(client().Freeze("m").error(), kNotFound);
  EXPECT_EQ(client().Unfreeze("m").error(), kNotFound);
  EXPECT_EQ(client().State("m").error(), kNotFound);
  EXPECT_EQ(Update("model: 'm' learning_rate: 1").error(), kNotFound);
  EXPECT_EQ(client().Get("").error(), kNotFound);
  EXPECT_EQ(client().Get("m").error().domain, "lazynorm");
}

TEST_F(ModelServiceTest, ADeletedModelIsGoneAndItsIdIsFree) {
  client().Create("m", "mlp {}");
  ASSERT_TRUE(client().Train(RandomStep("m", 4, 2, 1)).ok());
  EXPECT_TRUE(client().Delete("m").ok());
  EXPECT_EQ(client().Get("m").error(), kNotFound);
  EXPECT_EQ(client().Train(RandomStep("m", 4, 2, 1)).error(), kNotFound);
  const auto anew = client().Create("m", "mlp {}");
  EXPECT_EQ(anew->step(), 0);
  EXPECT_EQ(anew->state(), v1::STATE_LAZY);
}

TEST_F(ModelServiceTest, ListsPageByPageInTheOrderOfIds) {
  for (const char* id : {"d", "a", "c", "b", "e"}) client().Create(id, "mlp {}");
  using Words = std::vector<std::string>;
  EXPECT_EQ(Ids(List(0).response), (Words{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(List(0)->next_page_token(), "");
  EXPECT_EQ(List(5)->next_page_token(), "");
  EXPECT_EQ(List(1'000'000)->models_size(), 5);
  const auto first = List(2);
  EXPECT_EQ(Ids(first.response), (Words{"a", "b"}));
  client().Delete("b");  // a page is not lost with the model it ended on
  const auto second = List(2, first->next_page_token());
  EXPECT_EQ(Ids(second.response), (Words{"c", "d"}));
  const auto third = List(2, second->next_page_token());
  EXPECT_EQ(Ids(third.response), (Words{"e"}));
  EXPECT_EQ(third->next_page_token(), "");
}

TEST_F(ModelServiceTest, BadPagesAreRefused) {
  EXPECT_EQ(List(-1).error(), Invalid("LIMIT_EXCEEDED", "page_size"));
  for (const char* token : {"x", "YQ==", "a b"}) {
    EXPECT_EQ(List(0, token).error(), Invalid("INVALID_MODEL_ID", "page_token"));
  }
}

TEST_F(ModelServiceTest, AnUpdateIsWrittenBackIntoTheSpecAndTakesEffect) {
  client().Create("m", "mlp {} in_features: 2 optimizer { sgd { lr: 0.1 } }");
  const auto updated = Update(
      "model: 'm' learning_rate: 0 learning { clip_grad_norm: 2 } "
      "update_mask { paths: '*' }");
  ASSERT_TRUE(updated.ok()) << updated.error();
  EXPECT_EQ(updated->spec().optimizer().sgd().lr(), 0);
  EXPECT_EQ(updated->spec().learning().clip_grad_norm(), 2);
  EXPECT_EQ(updated->step(), 0);
  const std::string before = client().State("m")->tensors(0).SerializeAsString();
  ASSERT_TRUE(client().Train(RandomStep("m", 4, 2, 1)).ok());  // at a rate of 0
  EXPECT_EQ(client().State("m")->tensors(0).SerializeAsString(), before);
  EXPECT_EQ(Update("model: 'm' learning_rate: 0.5")->spec().learning().clip_grad_norm(), 2);
  ASSERT_TRUE(client().Train(RandomStep("m", 4, 2, 1)).ok());
  EXPECT_NE(client().State("m")->tensors(0).SerializeAsString(), before);
  EXPECT_EQ(client().Get("m")->spec().optimizer().sgd().lr(), 0.5);
}

TEST_F(ModelServiceTest, BadUpdatesAreRefusedAndChangeNothing) {
  client().Create("m", "mlp {}");
  const std::string before = client().Get("m")->SerializeAsString();
  EXPECT_EQ(Update("model: 'm'").error(), Invalid("INVALID_UPDATE", "update_mask"));
  EXPECT_EQ(Update("model: 'm' update_mask { paths: 'spec.seed' }").error(),
            Invalid("INVALID_UPDATE", "update_mask.paths[0]"));
  EXPECT_EQ(Update("model: 'm' learning_rate: -1").error(),
            Invalid("INVALID_UPDATE", "learning_rate"));
  EXPECT_EQ(Update("model: 'm' learning_rate: inf").error(),
            Invalid("INVALID_UPDATE", "learning_rate"));
  EXPECT_EQ(Update("model: 'm' learning_rate: 1 learning { clip_grad_norm: -1 }").error(),
            Invalid("INVALID_UPDATE", "learning.clip_grad_norm"));
  EXPECT_EQ(client().Get("m")->SerializeAsString(), before);
}

TEST_F(ModelServiceTest, AStateHasTorchsNamesAndIsEmptyWhileLazy) {
  client().Create("m", "mlp { hidden: 2 }");
  EXPECT_EQ(client().State("m")->tensors_size(), 0);
  ASSERT_TRUE(client().Train(RandomStep("m", 4, 3, 1)).ok());
  const auto state = client().State("m");
  EXPECT_EQ(state->step(), 1);
  std::vector<std::string> names;
  for (const v1::NamedTensor& t : state->tensors()) names.push_back(t.name());
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias",
                                             "1.running_mean", "1.running_var",
                                             "1.num_batches_tracked", "3.weight", "3.bias"}));
  EXPECT_EQ(state->tensors(0).shape(0), 2);
  EXPECT_EQ(state->tensors(0).shape(1), 3);
  EXPECT_EQ(state->tensors(6).int64_values(0), 1);
  EXPECT_EQ(state->tensors(6).shape_size() + state->tensors(6).values_size(), 0);
}

// The tensors that training with frozen statistics must not touch, and those it must.
std::pair<std::string, std::string> StatisticsAndParameters(
    const v1::GetModelStateResponse& state) {
  std::pair<std::string, std::string> parts;
  for (const v1::NamedTensor& t : state.tensors()) {
    const bool statistic = t.name().find("running_") != std::string::npos ||
                           t.name().find("num_batches_tracked") != std::string::npos;
    (statistic ? parts.first : parts.second) += t.SerializeAsString();
  }
  return parts;
}

TEST_F(ModelServiceTest, FrozenStatisticsKeepEveryByteWhileParametersLearn) {
  client().Create("m", "mlp { hidden: 4 normalize_input: true }");
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 1)).ok());
  const auto frozen = client().Freeze("m");
  EXPECT_TRUE(frozen->statistics_frozen());
  EXPECT_EQ(frozen->step(), 1);
  const auto before = StatisticsAndParameters(client().State("m").response);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, i)).ok());
  ASSERT_TRUE(client().Train(RandomStep("m", 1, 3, 9)).ok());  // one row will do
  auto after = StatisticsAndParameters(client().State("m").response);
  EXPECT_EQ(after.first, before.first);
  EXPECT_NE(after.second, before.second);
  EXPECT_FALSE(client().Unfreeze("m")->statistics_frozen());
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 1)).ok());
  EXPECT_NE(StatisticsAndParameters(client().State("m").response).first, before.first);
}

TEST_F(ModelServiceTest, ARequestMayFreezeStatisticsForItself) {
  client().Create("m", "mlp { hidden: 4 }");
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 1)).ok());
  const auto before = StatisticsAndParameters(client().State("m").response);
  v1::TrainRequest request = RandomStep("m", 8, 3, 2);
  request.set_statistics(v1::STATISTICS_MODE_FREEZE);
  ASSERT_TRUE(client().Train(request).ok());
  const auto after = StatisticsAndParameters(client().State("m").response);
  EXPECT_EQ(after.first, before.first);
  EXPECT_NE(after.second, before.second);
  EXPECT_FALSE(client().Get("m")->statistics_frozen());
}

TEST_F(ModelServiceTest, ALazyModelMayBeFrozen) {
  client().Create("m", "mlp { hidden: 4 }");
  const auto model = client().Freeze("m");
  EXPECT_TRUE(model->statistics_frozen());
  EXPECT_EQ(model->state(), v1::STATE_LAZY);
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 1)).ok());
  const auto state = client().State("m");
  EXPECT_EQ(state->tensors(6).int64_values(0), 0);  // num_batches_tracked
}

TEST_F(ModelServiceTest, ACopyHasTheWholeStateAndGoesOnByItself) {
  client().Create("m", "mlp { hidden: 4 } optimizer { adam { lr: 0.1 } }");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, i)).ok());
  const auto copy = Copy("m", "n");
  ASSERT_TRUE(copy.ok()) << copy.error();
  EXPECT_EQ(copy->model_id(), "n");
  EXPECT_EQ(copy->step(), 5);
  EXPECT_EQ(copy->rows_trained(), 40);
  EXPECT_EQ(client().State("n")->SerializeAsString(), client().State("m")->SerializeAsString());
  // The moments of Adam came along: one step more gives the same again.
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 9)).ok());
  EXPECT_EQ(client().Get("n")->step(), 5);
  ASSERT_TRUE(client().Train(RandomStep("n", 8, 3, 9)).ok());
  EXPECT_EQ(client().State("n")->SerializeAsString(), client().State("m")->SerializeAsString());
}

TEST_F(ModelServiceTest, ACopyIsRefusedAsAModelWouldBe) {
  client().Create("m", "mlp {}");
  EXPECT_EQ(Copy("x", "n").error(), kNotFound);
  EXPECT_EQ(Copy("m", "m").error(), Error(StatusCode::ALREADY_EXISTS, "MODEL_EXISTS"));
  EXPECT_EQ(Copy("m", "No").error().reason, "INVALID_MODEL_ID");
  EXPECT_EQ(Copy("m", "lazy")->state(), v1::STATE_LAZY);
}

// A WatchModel whose messages are read one by one.
struct Watching {
  Watching(Connection& client, const std::string& text) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    reader = client.models->WatchModel(&context, Parse<v1::WatchModelRequest>(text));
  }
  // The next message; empty at the end.
  v1::ModelStatus Next() {
    v1::ModelStatus status;
    if (!reader->Read(&status)) status.Clear();
    return status;
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::ModelStatus>> reader;
};

TEST_F(ModelServiceTest, AWatchTellsThePresentAtOnceThenWhatChanges) {
  client().Create("m", "mlp { hidden: 4 }");
  Watching watch(client(), "model: 'm' min_interval { nanos: 10000000 }");
  const v1::ModelStatus first = watch.Next();
  EXPECT_EQ(first.model(), "m");
  EXPECT_EQ(first.step(), 0);
  EXPECT_TRUE(std::isnan(first.train_loss()));
  const auto trained = client().Train(RandomStep("m", 8, 3, 1));
  const v1::ModelStatus second = watch.Next();
  EXPECT_EQ(second.step(), 1);
  EXPECT_EQ(second.rows_trained(), 8);
  EXPECT_NEAR(second.train_loss(), trained->loss(), 1e-9 * trained->loss());
  EXPECT_EQ(second.batch_norm_shift_size(), 1);
  EXPECT_EQ(second.gradient_norm(), trained->gradient_norm());
  EXPECT_GT(second.parameter_norm(), 0);
  EXPECT_THAT(second.expert_weights(), testing::ElementsAre(1));
  EXPECT_EQ(second.drifts(), 0);
  EXPECT_EQ(second.last_drift_step(), 0);
  EXPECT_GT(second.rows_per_second(), 0);
  client().Freeze("m");
  EXPECT_TRUE(watch.Next().statistics_frozen());
}

TEST_F(ModelServiceTest, AWatchAndTheAnswersTellOfDrift) {
  client().Create("m",
                  "mlp {} optimizer { sgd { lr: 0.01 } } "
                  "learning { experts {} experts { learning_rate: 0.02 } }");
  int64_t drifts = 0, last = 0;
  for (int i = 0; i < 300; ++i) {
    v1::TrainRequest request = RandomStep("m", 8, 3, i);
    if (i >= 250) request.mutable_targets()->set_values(0, 60);
    const auto trained = client().Train(request);
    ASSERT_TRUE(trained.ok()) << trained.error();
    EXPECT_GT(trained->gradient_norm(), 0);
    if (!trained->drift()) continue;
    ++drifts;
    last = trained->step();
  }
  EXPECT_GT(last, 250);
  Watching watch(client(), "model: 'm'");
  const v1::ModelStatus status = watch.Next();
  EXPECT_EQ(status.drifts(), drifts);
  EXPECT_EQ(status.last_drift_step(), last);
  ASSERT_EQ(status.expert_weights_size(), 2);
  EXPECT_NEAR(status.expert_weights(0) + status.expert_weights(1), 1, 1e-9);
}

TEST_F(ModelServiceTest, AWatchEndsWithItsModel) {
  client().Create("m", "mlp {}");
  Watching soon(client(), "model: 'm' min_interval { nanos: 1 }");
  Watching rare(client(), "model: 'm' min_interval { seconds: 3600 }");
  EXPECT_EQ(soon.Next().model(), "m");
  EXPECT_EQ(rare.Next().model(), "m");
  client().Delete("m");
  for (Watching* watch : {&soon, &rare}) {
    EXPECT_EQ(watch->Next().model(), "");
    EXPECT_EQ(DetailsOf(watch->reader->Finish()), kNotFound);
  }
}

TEST_F(ModelServiceTest, AWatchOfNothingOrWithABadIntervalIsRefused) {
  Watching nothing(client(), "model: 'm'");
  EXPECT_EQ(nothing.Next().model(), "");
  EXPECT_EQ(DetailsOf(nothing.reader->Finish()), kNotFound);
  client().Create("m", "mlp {}");
  Watching bad(client(), "model: 'm' min_interval { seconds: -1 }");
  EXPECT_EQ(bad.Next().model(), "");
  EXPECT_EQ(DetailsOf(bad.reader->Finish()), Invalid("LIMIT_EXCEEDED", "min_interval"));
}

TEST_F(ModelServiceTest, AWatchSendsAtMostOneMessageAnInterval) {
  client().Create("m", "mlp {}");
  const absl::Time begin = absl::Now();
  Watching watch(client(), "model: 'm' min_interval { nanos: 200000000 }");
  v1::ModelStatus status = watch.Next();  // at once; each of the others at least 200 ms later
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client().Train(RandomStep("m", 4, 2, i)).ok());
  int messages = 0;
  for (; status.step() < 20; ++messages) {
    status = watch.Next();
    ASSERT_EQ(status.model(), "m");
  }
  EXPECT_LE(messages, (absl::Now() - begin) / absl::Milliseconds(200));
}

}  // namespace
}  // namespace lazynorm
