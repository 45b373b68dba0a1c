#include "server/rpc/inference_service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "inference/inference_service.grpc.pb.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using Stub = inference::GRPCInferenceService::Stub;

const ErrorDetails kNotFound = Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND");

template <class T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string Bytes(const v1::Matrix& matrix) {
  return Bytes(std::vector<float>(matrix.values().begin(), matrix.values().end()));
}

// A request for `rows` rows of the type, without data.
ModelInferRequest Query(const std::string& model, int rows, int columns,
                        const std::string& datatype = "FP32") {
  ModelInferRequest request;
  request.set_model_name(model);
  auto* input = request.add_inputs();
  input->set_name("features");
  input->set_datatype(datatype);
  input->add_shape(rows);
  input->add_shape(columns);
  return request;
}

ModelInferRequest RawQuery(const std::string& model, const v1::Matrix& x) {
  ModelInferRequest request = Query(model, x.rows(), x.columns());
  request.add_raw_input_contents(Bytes(x));
  return request;
}

ModelInferRequest TypedQuery(const std::string& model, const v1::Matrix& x) {
  ModelInferRequest request = Query(model, x.rows(), x.columns());
  *request.mutable_inputs(0)->mutable_contents()->mutable_fp32_contents() = x.values();
  return request;
}

void SetParameter(ModelInferRequest& request, const std::string& name, int64_t value) {
  (*request.mutable_parameters())[name].set_int64_param(value);
}

class InferenceServiceTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    stub_ = inference::GRPCInferenceService::NewStub(client().channel);
    ASSERT_TRUE(client().Create("m", "mlp { hidden: 4 out_features: 2 } seed: 5").ok());
  }
  void Train(int steps, const std::string& model = "m", int columns = 3) {
    for (int i = 0; i < steps; ++i) {
      v1::TrainRequest request = RandomStep(model, 8, columns, i);
      *request.mutable_targets() = RandomMatrix(8, 2, i);
      ASSERT_TRUE(client().Train(request).ok());
    }
  }
  template <class Request, class Response>
  Answer<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                     Response*),
                        const Request& request, absl::Duration timeout = absl::Seconds(60)) {
    return Connection::Call(*stub_, method, request, timeout);
  }
  Answer<ModelInferResponse> Infer(const ModelInferRequest& request,
                                   absl::Duration timeout = absl::Seconds(60)) {
    return Call(&Stub::ModelInfer, request, timeout);
  }
  ErrorDetails InferError(const ModelInferRequest& request) { return Infer(request).error(); }
  // What lazynorm.v1 predicts, as bytes.
  std::string Predicted(const std::string& model, const v1::Matrix& x,
                        v1::Output output = v1::OUTPUT_RAW) {
    v1::PredictRequest request;
    request.set_model(model);
    *request.mutable_features() = x;
    request.set_output(output);
    const auto answer = client().Predict(request);
    EXPECT_TRUE(answer.ok()) << answer.error();
    return Bytes(answer->predictions());
  }
  template <class Request>
  static Request Named(const std::string& name, const std::string& version = "") {
    Request request;
    request.set_name(name);
    request.set_version(version);
    return request;
  }
  bool ModelReady(const std::string& name, const std::string& version = "") {
    const auto answer = Call(&Stub::ModelReady, Named<inference::ModelReadyRequest>(name, version));
    EXPECT_TRUE(answer.ok()) << answer.error();
    return answer->ready();
  }

  std::unique_ptr<Stub> stub_;
};

TEST_F(InferenceServiceTest, RawAnswersAreByteForByteWhatPredictPredicts) {
  Train(3);
  const v1::Matrix x = RandomMatrix(5, 3, 1);
  const auto answer = Infer(RawQuery("m", x));
  ASSERT_TRUE(answer.ok()) << answer.error();
  ASSERT_EQ(answer->outputs_size(), 1);
  EXPECT_EQ(answer->outputs(0).name(), "predictions");
  EXPECT_EQ(answer->outputs(0).datatype(), "FP32");
  EXPECT_EQ(answer->outputs(0).shape(0), 5);
  EXPECT_EQ(answer->outputs(0).shape(1), 2);
  EXPECT_FALSE(answer->outputs(0).has_contents());
  ASSERT_EQ(answer->raw_output_contents_size(), 1);
  EXPECT_EQ(answer->raw_output_contents(0), Predicted("m", x));
  EXPECT_EQ(answer->model_name(), "m");
  EXPECT_EQ(answer->model_version(), "3");
}

TEST_F(InferenceServiceTest, TypedAnswersAreThemTyped) {
  Train(3);
  const v1::Matrix x = RandomMatrix(5, 3, 1);
  const auto answer = Infer(TypedQuery("m", x));
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->raw_output_contents_size(), 0);
  const auto& values = answer->outputs(0).contents().fp32_contents();
  EXPECT_EQ(Bytes(std::vector<float>(values.begin(), values.end())), Predicted("m", x));
}

TEST_F(InferenceServiceTest, EveryDatatypeIsPredictedAsItsFloats) {
  Train(1);
  const std::string expected = Predicted("m", MakeMatrix(1, 3, {1, 0, 100}));
  const std::vector<std::pair<std::string, std::string>> raw = {
      {"FP32", Bytes<float>({1, 0, 100})},
      {"FP64", Bytes<double>({1, 0, 100})},
      {"FP16", Bytes<uint16_t>({0x3C00, 0, 0x5640})},
      {"BF16", Bytes<uint16_t>({0x3F80, 0, 0x42C8})},
      {"INT8", Bytes<int8_t>({1, 0, 100})},
      {"INT16", Bytes<int16_t>({1, 0, 100})},
      {"INT32", Bytes<int32_t>({1, 0, 100})},
      {"INT64", Bytes<int64_t>({1, 0, 100})},
      {"UINT8", Bytes<uint8_t>({1, 0, 100})},
      {"UINT16", Bytes<uint16_t>({1, 0, 100})},
      {"UINT32", Bytes<uint32_t>({1, 0, 100})},
      {"UINT64", Bytes<uint64_t>({1, 0, 100})}};
  for (const auto& [datatype, bytes] : raw) {
    ModelInferRequest request = Query("m", 1, 3, datatype);
    request.add_raw_input_contents(bytes);
    const auto answer = Infer(request);
    ASSERT_TRUE(answer.ok()) << datatype << answer.error();
    EXPECT_EQ(answer->raw_output_contents(0), expected) << datatype;
  }
  ModelInferRequest request = Query("m", 1, 3, "INT16");
  for (const int value : {1, 0, 100}) {
    request.mutable_inputs(0)->mutable_contents()->add_int_contents(value);
  }
  const auto typed = Infer(request);
  const auto& values = typed->outputs(0).contents().fp32_contents();
  EXPECT_EQ(Bytes(std::vector<float>(values.begin(), values.end())), expected);
}

TEST_F(InferenceServiceTest, ClassifiersHaveProbabilitiesToo) {
  ASSERT_TRUE(
      client().Create("ce", "mlp { out_features: 3 } loss { kind: LOSS_KIND_CROSS_ENTROPY }").ok());
  const v1::Matrix x = RandomMatrix(4, 3, 1);
  const std::string logits = Predicted("ce", x);
  const std::string probabilities = Predicted("ce", x, v1::OUTPUT_PROBABILITIES);
  const auto all = Infer(RawQuery("ce", x));
  ASSERT_EQ(all->raw_output_contents_size(), 2);
  EXPECT_EQ(all->outputs(0).name(), "predictions");
  EXPECT_EQ(all->outputs(1).name(), "probabilities");
  EXPECT_EQ(all->raw_output_contents(0), logits);
  EXPECT_EQ(all->raw_output_contents(1), probabilities);
  ModelInferRequest one = RawQuery("ce", x);
  one.add_outputs()->set_name("probabilities");
  const auto some = Infer(one);
  ASSERT_EQ(some->raw_output_contents_size(), 1);
  EXPECT_EQ(some->raw_output_contents(0), probabilities);
}

TEST_F(InferenceServiceTest, WhatIsRefusedNamesItsField) {
  Train(1);
  const ModelInferRequest good = RawQuery("m", RandomMatrix(2, 3, 1));
  ASSERT_TRUE(Infer(good).ok());
  using Input = ModelInferRequest::InferInputTensor;
  const auto error = [&](const std::function<void(ModelInferRequest&, Input&)>& change) {
    ModelInferRequest bad = good;
    change(bad, *bad.mutable_inputs(0));
    return InferError(bad);
  };
  const auto shape = [](const std::string& field) { return Invalid("SHAPE_MISMATCH", field); };
  EXPECT_EQ(error([](auto& r, auto&) { r.clear_inputs(); }), shape("inputs"));
  EXPECT_EQ(error([](auto& r, auto&) { *r.add_inputs() = r.inputs(0); }), shape("inputs"));
  EXPECT_EQ(error([](auto&, auto& i) { i.set_name("x"); }), shape("inputs[0].name"));
  EXPECT_EQ(error([](auto& r, auto&) { r.add_outputs()->set_name("x"); }),
            Invalid("TARGET_MISMATCH", "outputs[0].name"));
  EXPECT_EQ(error([](auto& r, auto&) { r.add_outputs()->set_name("probabilities"); }),
            Invalid("TARGET_MISMATCH", "outputs[0].name"));
  EXPECT_EQ(error([](auto&, auto& i) { i.add_shape(1); }), shape("inputs[0].shape"));
  EXPECT_EQ(error([](auto&, auto& i) { i.set_shape(0, 0); }), Invalid("EMPTY_BATCH", "features"));
  EXPECT_EQ(error([](auto&, auto& i) { i.set_shape(0, -1); }), shape("inputs[0].shape[0]"));
  EXPECT_EQ(error([](auto&, auto& i) { i.set_shape(1, 0); }), shape("inputs[0].shape[1]"));
  EXPECT_EQ(error([](auto&, auto& i) { i.mutable_contents()->add_fp32_contents(1); }),
            shape("inputs[0].contents"));
  EXPECT_EQ(error([](auto& r, auto&) { r.add_raw_input_contents("x"); }),
            shape("raw_input_contents"));
  EXPECT_EQ(error([](auto& r, auto&) { r.mutable_raw_input_contents(0)->pop_back(); }),
            shape("raw_input_contents[0]"));
  EXPECT_EQ(error([](auto& r, auto&) { r.clear_raw_input_contents(); }),
            shape("inputs[0].contents.fp32_contents"));
  EXPECT_EQ(error([](auto&, auto& i) { i.set_datatype("BYTES"); }), shape("inputs[0].datatype"));
  EXPECT_EQ(InferError(RawQuery("m", RandomMatrix(2, 4, 1))),
            Invalid("WIDTH_MISMATCH", "features"));
  EXPECT_EQ(InferError(RawQuery("m", MakeMatrix(1, 3, {1, 2, INFINITY}))),
            Invalid("NON_FINITE_VALUE", "raw_input_contents[0][2]"));
  EXPECT_EQ(error([](auto& r, auto&) { (*r.mutable_parameters())["min_step"].set_bool_param(1); }),
            shape("parameters.min_step"));
  EXPECT_EQ(InferError(RawQuery("nobody", RandomMatrix(2, 3, 1))), kNotFound);
}

TEST_F(InferenceServiceTest, AVersionIsThePresentStepOrNone) {
  Train(2);
  ModelInferRequest request = RawQuery("m", RandomMatrix(2, 3, 1));
  request.set_model_version("2");
  EXPECT_EQ(Infer(request)->model_version(), "2");
  for (const char* version : {"1", "3", "02", "latest", "-1"}) {
    request.set_model_version(version);
    EXPECT_EQ(InferError(request),
              Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", "model_version"));
    EXPECT_EQ(Call(&Stub::ModelMetadata, Named<inference::ModelMetadataRequest>("m", version))
                  .error()
                  .code,
              StatusCode::NOT_FOUND);
    EXPECT_FALSE(ModelReady("m", version));
  }
  EXPECT_TRUE(ModelReady("m", "2"));
}

TEST_F(InferenceServiceTest, TheFirstInferenceFixesALazyModelsWidth) {
  EXPECT_TRUE(ModelReady("m"));
  auto metadata = Call(&Stub::ModelMetadata, Named<inference::ModelMetadataRequest>("m"));
  EXPECT_EQ(metadata->inputs(0).shape(1), -1);
  EXPECT_EQ(metadata->outputs(0).shape(1), 2);
  // What is refused fixes nothing.
  ModelInferRequest bad = RawQuery("m", RandomMatrix(2, 3, 1));
  bad.set_model_version("1");
  EXPECT_EQ(InferError(bad).code, StatusCode::NOT_FOUND);
  bad.clear_model_version();
  bad.add_outputs()->set_name("probabilities");
  EXPECT_EQ(InferError(bad).reason, "TARGET_MISMATCH");
  EXPECT_EQ(client().Get("m")->state(), v1::STATE_LAZY);

  const v1::Matrix x = RandomMatrix(2, 3, 1);
  const auto answer = Infer(RawQuery("m", x));
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->model_version(), "0");
  EXPECT_EQ(answer->raw_output_contents(0), Predicted("m", x));
  EXPECT_EQ(client().Get("m")->in_features(), 3);
  metadata = Call(&Stub::ModelMetadata, Named<inference::ModelMetadataRequest>("m"));
  EXPECT_EQ(metadata->inputs(0).shape(1), 3);
  EXPECT_EQ(InferError(RawQuery("m", RandomMatrix(2, 4, 1))),
            Invalid("WIDTH_MISMATCH", "features"));
}

TEST_F(InferenceServiceTest, AnIdComesBackAndForeignParametersAreIgnored) {
  ModelInferRequest request = RawQuery("m", RandomMatrix(2, 3, 1));
  request.set_id("\u00e4-17");
  for (const char* name : {"sequence_id", "priority", "anything"}) SetParameter(request, name, 7);
  for (const char* name : {"sequence_start", "sequence_end", "binary_data_output"}) {
    (*request.mutable_parameters())[name].set_bool_param(true);
  }
  const auto answer = Infer(request);
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->id(), "\u00e4-17");
  EXPECT_EQ(answer->parameters_size(), 0);
}

TEST_F(InferenceServiceTest, MinStepIsWaitedFor) {
  ModelInferRequest request = RawQuery("m", RandomMatrix(2, 3, 1));
  SetParameter(request, "min_step", 2);
  request.set_model_version("2");  // not yet
  auto waiting = std::async(std::launch::async, [&] { return Infer(request); });
  Train(1);
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  Train(1);
  const auto answer = waiting.get();
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->model_version(), "2");
}

TEST_F(InferenceServiceTest, ATimeoutTightensTheDeadline) {
  ModelInferRequest request = RawQuery("m", RandomMatrix(2, 3, 1));
  SetParameter(request, "timeout", 200'000);
  EXPECT_TRUE(Infer(request).ok());
  SetParameter(request, "min_step", 5);
  const absl::Time begin = absl::Now();
  EXPECT_EQ(InferError(request),
            Error(StatusCode::DEADLINE_EXCEEDED, "STEP_NOT_REACHED", "min_step"));
  EXPECT_GT(absl::Now() - begin, absl::Milliseconds(100));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30));
  SetParameter(request, "timeout", 60'000'000);
  EXPECT_EQ(Infer(request, absl::Milliseconds(200)).error().code, StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(InferenceServiceTest, AModelThatLearnsIsPredictedOnAndItsVersionRises) {
  Train(1);
  std::atomic<bool> stop = false;
  std::thread learning([&] {
    Connection other(port());
    for (int i = 0; !stop; ++i) {
      v1::TrainRequest request = RandomStep("m", 8, 3, i);
      *request.mutable_targets() = RandomMatrix(8, 2, i);
      EXPECT_TRUE(other.Train(request).ok());
    }
  });
  const ModelInferRequest request = RawQuery("m", RandomMatrix(4, 3, 1));
  int64_t first = 0, latest = 0;
  const bool rose = Soon([&] {
    const auto answer = Infer(request);
    EXPECT_TRUE(answer.ok()) << answer.error();
    int64_t step = 0;
    EXPECT_TRUE(absl::SimpleAtoi(answer->model_version(), &step));
    EXPECT_GE(step, latest);
    latest = step;
    if (first == 0) first = step;
    return latest >= first + 20;
  });
  stop = true;
  learning.join();
  EXPECT_TRUE(rose) << "from " << first << " to " << latest;
  EXPECT_EQ(Infer(request)->model_version(), absl::StrCat(client().Get("m")->step()));
}

TEST_F(InferenceServiceTest, InferenceNeverTrains) {
  Train(2);
  const std::string before = client().State("m")->SerializeAsString();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Infer(RawQuery("m", RandomMatrix(9, 3, i))).ok());
  EXPECT_EQ(client().State("m")->SerializeAsString(), before);
}

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

TEST_F(InferenceServiceTest, AStreamTellsOfABadRequestAndStaysOpen) {
  Train(1);
  grpc::ClientContext context;
  auto stream = stub_->ModelStreamInfer(&context);
  const v1::Matrix x = RandomMatrix(3, 3, 1);
  ModelInferRequest bad = RawQuery("m", RandomMatrix(2, 4, 1));
  bad.set_id("second");
  ASSERT_TRUE(stream->Write(RawQuery("m", x)));
  ASSERT_TRUE(stream->Write(bad));
  ASSERT_TRUE(stream->Write(RawQuery("nobody", x)));
  ASSERT_TRUE(stream->Write(RawQuery("m", x)));
  stream->WritesDone();
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_EQ(response.infer_response().raw_output_contents(0), Predicted("m", x));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "features: expected 3 columns, got 4");
  EXPECT_EQ(response.infer_response().id(), "second");
  EXPECT_EQ(response.infer_response().outputs_size(), 0);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(absl::StrContains(response.error_message(), "nobody"));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferenceServiceTest, AStreamEndsWithABadRequestIfItsCallerSaysSo) {
  Train(1);
  grpc::ClientContext context;
  context.AddMetadata("triton_grpc_error", "true");
  auto stream = stub_->ModelStreamInfer(&context);
  stream->Write(RawQuery("m", RandomMatrix(3, 3, 1)));
  stream->Write(RawQuery("m", RandomMatrix(3, 4, 1)));
  stream->Write(RawQuery("m", RandomMatrix(3, 3, 1)));
  stream->WritesDone();
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().model_version(), "1");
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(DetailsOf(stream->Finish()), Invalid("WIDTH_MISMATCH", "features"));
}

TEST_F(InferenceServiceTest, AStreamMayWaitForSteps) {
  grpc::ClientContext context;
  auto stream = stub_->ModelStreamInfer(&context);
  ModelInferRequest request = RawQuery("m", RandomMatrix(3, 3, 1));
  for (int step = 1; step <= 2; ++step) {
    SetParameter(request, "min_step", step);
    ASSERT_TRUE(stream->Write(request));
  }
  inference::ModelStreamInferResponse response;
  for (int step = 1; step <= 2; ++step) {
    Train(1);
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.infer_response().model_version(), absl::StrCat(step));
  }
  // One that waits for ever goes with its caller.
  SetParameter(request, "min_step", 100);
  ASSERT_TRUE(stream->Write(request));
  absl::SleepFor(absl::Milliseconds(10));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(InferenceServiceTest, ALargeInferenceIsTheSameRowByRow) {
  // Large enough to leave the polling thread.
  client().Create("wide", "mlp { hidden: 256 } in_features: 64");
  const v1::Matrix x = RandomMatrix(2000, 64, 1);
  EXPECT_EQ(Infer(RawQuery("wide", x))->raw_output_contents(0), Predicted("wide", x));
}

}  // namespace
}  // namespace lazynorm
