#include "server/convert/inference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "model/errors.h"
#include "tests/support/text_proto.h"

namespace lazynorm {
namespace {

using inference::ModelInferRequest;

template <class T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

ModelInferRequest Raw(const std::string& datatype, const std::string& bytes, int rows = 2,
                      int columns = 2) {
  ModelInferRequest request;
  auto* input = request.add_inputs();
  input->set_name("features");
  input->set_datatype(datatype);
  input->add_shape(rows);
  input->add_shape(columns);
  request.add_raw_input_contents(bytes);
  return request;
}

ModelInferRequest Typed(const std::string& datatype, const std::string& contents) {
  return Parse<ModelInferRequest>("inputs { name: 'features' datatype: '" + datatype +
                                  "' shape: [2, 2] contents { " + contents + " } }");
}

std::vector<float> ValuesOf(const ModelInferRequest& request) {
  const auto input = ToInferInput(request, {});
  EXPECT_TRUE(input.ok()) << input.status();
  if (!input.ok()) return {};
  EXPECT_EQ(input->x.rows(), 2);
  EXPECT_EQ(input->x.cols(), 2);
  return {input->x.data(), input->x.data() + input->x.size()};
}

std::string FaultOf(const ModelInferRequest& request) {
  const absl::Status status = ToInferInput(request, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return ReasonOf(status) + " " + FieldOf(status);
}

TEST(InferenceTest, TypedDataOfEveryDatatypeBecomeFloats) {
  EXPECT_EQ(ValuesOf(Typed("FP32", "fp32_contents: [0.1, -2, 3e30, 4]")),
            (std::vector<float>{0.1f, -2, 3e30f, 4}));
  EXPECT_EQ(ValuesOf(Typed("FP64", "fp64_contents: [0.1, -2, 3e30, 4]")),
            (std::vector<float>{0.1f, -2, 3e30f, 4}));
  for (const char* datatype : {"INT8", "INT16", "INT32"}) {
    EXPECT_EQ(ValuesOf(Typed(datatype, "int_contents: [1, -128, 3, 127]")),
              (std::vector<float>{1, -128, 3, 127}));
  }
  for (const char* datatype : {"UINT8", "UINT16", "UINT32"}) {
    EXPECT_EQ(ValuesOf(Typed(datatype, "uint_contents: [1, 0, 3, 255]")),
              (std::vector<float>{1, 0, 3, 255}));
  }
  EXPECT_EQ(ValuesOf(Typed("INT64", "int64_contents: [1, -9007199254740993, 3, 4]")),
            (std::vector<float>{1, -9007199254740993.0f, 3, 4}));
  EXPECT_EQ(ValuesOf(Typed("UINT64", "uint64_contents: [1, 18446744073709551615, 3, 4]")),
            (std::vector<float>{1, 18446744073709551615.0f, 3, 4}));
  EXPECT_EQ(ValuesOf(Typed("BOOL", "bool_contents: [true, false, false, true]")),
            (std::vector<float>{1, 0, 0, 1}));
}

TEST(InferenceTest, RawDataOfEveryDatatypeBecomeFloats) {
  const std::vector<float> expected = {1, 2, 3, 100};
  EXPECT_EQ(ValuesOf(Raw("FP32", Bytes<float>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("FP64", Bytes<double>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("INT8", Bytes<int8_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("INT16", Bytes<int16_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("INT32", Bytes<int32_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("INT64", Bytes<int64_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("UINT8", Bytes<uint8_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("UINT16", Bytes<uint16_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("UINT32", Bytes<uint32_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("UINT64", Bytes<uint64_t>({1, 2, 3, 100}))), expected);
  EXPECT_EQ(ValuesOf(Raw("BOOL", std::string("\1\0\2\0", 4))), (std::vector<float>{1, 0, 1, 0}));
  // 1.5, -2, the smallest subnormal, 65504; IEEE 754 binary16.
  EXPECT_EQ(ValuesOf(Raw("FP16", Bytes<uint16_t>({0x3E00, 0xC000, 0x0001, 0x7BFF}))),
            (std::vector<float>{1.5f, -2, 0x1p-24f, 65504}));
  // The upper halves of float32s.
  EXPECT_EQ(ValuesOf(Raw("BF16", Bytes<uint16_t>({0x3FC0, 0xC000, 0x0001, 0x7F7F}))),
            (std::vector<float>{1.5f, -2, 0x1p-133f, 0x1.FEp127f}));
}

TEST(InferenceTest, FloatsAreNotCopied) {
  const ModelInferRequest raw = Raw("FP32", Bytes<float>({1, 2, 3, 4}));
  EXPECT_EQ(static_cast<const void*>(ToInferInput(raw, {})->x.data()),
            static_cast<const void*>(raw.raw_input_contents(0).data()));
  const ModelInferRequest typed = Typed("FP32", "fp32_contents: [1, 2, 3, 4]");
  EXPECT_EQ(ToInferInput(typed, {})->x.data(), typed.inputs(0).contents().fp32_contents().data());
}

TEST(InferenceTest, WhatIsConvertedMovesWithItsOwner) {
  const ModelInferRequest request = Raw("INT8", std::string("\1\2\3\4", 4));
  InferInput input = *ToInferInput(request, {});
  const InferInput moved = std::move(input);
  EXPECT_EQ(moved.x.data(), moved.converted.data());
  EXPECT_EQ(moved.x(1, 1), 4);
}

TEST(InferenceTest, AnInputOfAnotherFormIsRefused) {
  const ModelInferRequest good = Raw("FP32", Bytes<float>({1, 2, 3, 4}));
  const auto fault = [&](auto change) {
    ModelInferRequest bad = good;
    change(bad, *bad.mutable_inputs(0));
    return FaultOf(bad);
  };
  EXPECT_EQ(fault([](auto& r, auto&) { r.clear_inputs(); }), "SHAPE_MISMATCH inputs");
  EXPECT_EQ(fault([](auto& r, auto&) { *r.add_inputs() = r.inputs(0); }), "SHAPE_MISMATCH inputs");
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_name("x"); }), "SHAPE_MISMATCH inputs[0].name");
  EXPECT_EQ(fault([](auto&, auto& i) { i.clear_shape(); }), "SHAPE_MISMATCH inputs[0].shape");
  EXPECT_EQ(fault([](auto&, auto& i) { i.add_shape(1); }), "SHAPE_MISMATCH inputs[0].shape");
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_shape(0, 0); }), "EMPTY_BATCH features");
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_shape(0, -1); }), "SHAPE_MISMATCH inputs[0].shape[0]");
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_shape(1, 0); }), "SHAPE_MISMATCH inputs[0].shape[1]");
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_shape(1, -2); }), "SHAPE_MISMATCH inputs[0].shape[1]");
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_shape(0, kHuge); }),
            "LIMIT_EXCEEDED inputs[0].shape[0]");
  EXPECT_EQ(fault([](auto&, auto& i) { i.set_shape(1, kHuge); }),
            "LIMIT_EXCEEDED inputs[0].shape[1]");
  for (const char* datatype : {"BYTES", "", "fp32", "FP8"}) {
    EXPECT_EQ(fault([&](auto&, auto& i) { i.set_datatype(datatype); }),
              "SHAPE_MISMATCH inputs[0].datatype");
  }
}

TEST(InferenceTest, DataThatDoNotFitAreRefused) {
  EXPECT_EQ(FaultOf(Raw("FP32", std::string(15, '\0'))), "SHAPE_MISMATCH raw_input_contents[0]");
  EXPECT_EQ(FaultOf(Raw("FP64", std::string(16, '\0'))), "SHAPE_MISMATCH raw_input_contents[0]");
  EXPECT_EQ(FaultOf(Raw("FP32", "")), "SHAPE_MISMATCH raw_input_contents[0]");
  ModelInferRequest two = Raw("FP32", std::string(16, '\0'));
  two.add_raw_input_contents("");
  EXPECT_EQ(FaultOf(two), "SHAPE_MISMATCH raw_input_contents");
  ModelInferRequest both = Raw("FP32", std::string(16, '\0'));
  both.mutable_inputs(0)->mutable_contents()->add_bool_contents(true);
  EXPECT_EQ(FaultOf(both), "SHAPE_MISMATCH inputs[0].contents");
  EXPECT_EQ(FaultOf(Typed("FP32", "fp32_contents: [1, 2, 3]")),
            "SHAPE_MISMATCH inputs[0].contents.fp32_contents");
  EXPECT_EQ(FaultOf(Typed("FP32", "fp64_contents: [1, 2, 3, 4]")),
            "SHAPE_MISMATCH inputs[0].contents.fp32_contents");
  EXPECT_EQ(FaultOf(Typed("INT32", "int_contents: [1, 2, 3, 4] bytes_contents: 'x'")),
            "SHAPE_MISMATCH inputs[0].contents");
  EXPECT_EQ(FaultOf(Typed("FP16", "fp32_contents: [1, 2, 3, 4]")),
            "SHAPE_MISMATCH inputs[0].contents");
}

TEST(InferenceTest, NumbersThatAreNotFiniteFloatsAreRefusedWithTheirPlace) {
  EXPECT_EQ(FaultOf(Raw("FP32", Bytes<float>({1, 2, NAN, 4}))),
            "NON_FINITE_VALUE raw_input_contents[0][2]");
  EXPECT_EQ(FaultOf(Raw("FP64", Bytes<double>({1, 1e300, 3, 4}))),
            "NON_FINITE_VALUE raw_input_contents[0][1]");
  EXPECT_EQ(FaultOf(Raw("FP16", Bytes<uint16_t>({0x7C00, 0, 0, 0}))),
            "NON_FINITE_VALUE raw_input_contents[0][0]");
  EXPECT_EQ(FaultOf(Typed("FP32", "fp32_contents: [1, 2, 3, inf]")),
            "NON_FINITE_VALUE inputs[0].contents.fp32_contents[3]");
  EXPECT_EQ(FaultOf(Typed("FP64", "fp64_contents: [nan, 2, 3, 4]")),
            "NON_FINITE_VALUE inputs[0].contents.fp64_contents[0]");
}

TEST(InferenceTest, LimitsHoldToTheLastRowAndColumn) {
  const ModelInferRequest request = Raw("INT8", std::string(6, '\1'), 3, 2);
  EXPECT_TRUE(ToInferInput(request, {.max_rows = 3, .max_width = 2}).ok());
  EXPECT_EQ(ReasonOf(ToInferInput(request, {.max_rows = 2, .max_width = 2}).status()),
            "LIMIT_EXCEEDED");
  EXPECT_EQ(ReasonOf(ToInferInput(request, {.max_rows = 3, .max_width = 1}).status()),
            "LIMIT_EXCEEDED");
}

TEST(InferenceTest, SettingsAreParametersAndOthersAreIgnored) {
  const auto settings = ToInferSettings(
      Parse<ModelInferRequest>("parameters { key: 'min_step' value { int64_param: 7 } }"
                               "parameters { key: 'timeout' value { int64_param: 1500 } }"
                               "parameters { key: 'sequence_id' value { string_param: 'x' } }"
                               "parameters { key: 'priority' value { uint64_param: 1 } }"));
  EXPECT_EQ(settings->min_step, 7);
  EXPECT_EQ(settings->timeout, absl::Microseconds(1500));
  EXPECT_EQ(ToInferSettings({})->min_step, 0);
  EXPECT_EQ(ToInferSettings({})->timeout, absl::InfiniteDuration());
  for (const std::string name : {"min_step", "timeout"}) {
    const absl::Status status =
        ToInferSettings(Parse<ModelInferRequest>("parameters { key: '" + name +
                                                 "' value { string_param: '7' } }"))
            .status();
    EXPECT_EQ(ReasonOf(status), "SHAPE_MISMATCH");
    EXPECT_EQ(FieldOf(status), "parameters." + name);
  }
}

TEST(InferenceTest, OutputsAreThoseThatAreAskedForInTheirOrder) {
  using Outputs = std::vector<InferOutput>;
  const auto both =
      Parse<ModelInferRequest>("outputs { name: 'probabilities' } outputs { name: 'predictions' }");
  EXPECT_EQ(*ToInferOutputs(both, LossKind::kCrossEntropy),
            (Outputs{InferOutput::kProbabilities, InferOutput::kPredictions}));
  EXPECT_EQ(*ToInferOutputs({}, LossKind::kBceWithLogits),
            (Outputs{InferOutput::kPredictions, InferOutput::kProbabilities}));
  EXPECT_EQ(*ToInferOutputs({}, LossKind::kMse), (Outputs{InferOutput::kPredictions}));
  const absl::Status missing = ToInferOutputs(both, LossKind::kMse).status();
  EXPECT_EQ(ReasonOf(missing) + " " + FieldOf(missing), "TARGET_MISMATCH outputs[0].name");
  const auto twice =
      Parse<ModelInferRequest>("outputs { name: 'predictions' } outputs { name: 'predictions' }");
  const absl::Status again = ToInferOutputs(twice, LossKind::kMse).status();
  EXPECT_EQ(ReasonOf(again) + " " + FieldOf(again), "TARGET_MISMATCH outputs[1].name");
}

TEST(InferenceTest, OutputsAreWrittenInPlace) {
  for (const bool raw : {false, true}) {
    inference::ModelInferResponse response;
    const MatrixView place = AddInferOutput(InferOutput::kPredictions, 2, 1, raw, &response);
    place(0, 0) = 1.5f;
    place(1, 0) = -2;
    ASSERT_EQ(response.outputs_size(), 1);
    EXPECT_EQ(response.outputs(0).name(), "predictions");
    EXPECT_EQ(response.outputs(0).datatype(), "FP32");
    EXPECT_EQ(response.outputs(0).shape(0), 2);
    EXPECT_EQ(response.outputs(0).shape(1), 1);
    EXPECT_EQ(response.outputs(0).has_contents(), !raw);
    ASSERT_EQ(response.raw_output_contents_size(), raw ? 1 : 0);
    if (raw) {
      EXPECT_EQ(response.raw_output_contents(0), Bytes<float>({1.5f, -2}));
    } else {
      EXPECT_EQ(response.outputs(0).contents().fp32_contents(0), 1.5f);
      EXPECT_EQ(response.outputs(0).contents().fp32_contents(1), -2);
    }
  }
}

}  // namespace
}  // namespace lazynorm
