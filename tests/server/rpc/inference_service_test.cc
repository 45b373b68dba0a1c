#include "server/rpc/inference_service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/rpc/inference_fixture.h"

namespace lazynorm {
namespace {

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
  SetParameter(request, "timeout", 60'000'000);
  EXPECT_TRUE(Infer(request).ok());
  SetParameter(request, "timeout", 200'000);
  SetParameter(request, "min_step", 5);
  const absl::Time begin = absl::Now();
  EXPECT_EQ(InferError(request),
            Error(StatusCode::DEADLINE_EXCEEDED, "STEP_NOT_REACHED", "min_step"));
  EXPECT_GT(absl::Now() - begin, absl::Milliseconds(100));
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
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

TEST_F(InferenceServiceTest, ALargeInferenceIsTheSameRowByRow) {
  // Large enough to leave the polling thread.
  client().Create("wide", "mlp { hidden: 256 } in_features: 64");
  const v1::Matrix x = RandomMatrix(2000, 64, 1);
  EXPECT_EQ(Infer(RawQuery("wide", x))->raw_output_contents(0), Predicted("wide", x));
}

}  // namespace
}  // namespace lazynorm
