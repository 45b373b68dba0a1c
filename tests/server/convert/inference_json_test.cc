#include "server/convert/inference_json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "server/convert/inference.h"

namespace lazynorm {
namespace {

using inference::ModelInferRequest;

// A request whose one input has these members beside its name.
std::string WithInput(const std::string& members) {
  return absl::StrCat("{\"inputs\": [{\"name\": \"features\", ", members, "}]}");
}

std::vector<float> ValuesOf(const std::string& json) {
  ModelInferRequest request;
  const absl::Status read = FromJson(json, &request);
  EXPECT_TRUE(read.ok()) << read;
  const auto input = ToInferInput(request, {});
  EXPECT_TRUE(input.ok()) << input.status();
  if (!input.ok()) return {};
  return {input->x.data(), input->x.data() + input->x.size()};
}

// The field at fault, behind a slash if it was the conversion to numbers that found it.
std::string FaultOf(const std::string& json) {
  ModelInferRequest request;
  if (absl::Status read = FromJson(json, &request); !read.ok()) {
    EXPECT_EQ(read.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(read), "SHAPE_MISMATCH");
    return FieldOf(read);
  }
  const absl::Status status = ToInferInput(request, {}).status();
  EXPECT_FALSE(status.ok());
  return absl::StrCat("/", FieldOf(status));
}

TEST(InferenceJsonTest, DataMayBeFlatOrRowsInAnyOrderOfTheKeys) {
  const std::vector<float> expected = {1, -2.5f, 3e-7f, 4};
  EXPECT_EQ(ValuesOf(WithInput(R"("datatype":"FP32","shape":[2,2],"data":[1,-2.5,3e-7,4])")),
            expected);
  EXPECT_EQ(ValuesOf(WithInput(R"("data":[[1,-2.5],[3e-7,4]],"shape":[2,2],"datatype":"FP64")")),
            expected);
}

TEST(InferenceJsonTest, EveryDatatypeOfNumbersIsRead) {
  for (const char* datatype :
       {"FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"}) {
    EXPECT_EQ(ValuesOf(WithInput(
                  absl::StrCat(R"("shape":[1,2],"data":[3,100],"datatype":")", datatype, "\""))),
              (std::vector<float>{3, 100}));
  }
  EXPECT_EQ(ValuesOf(WithInput(R"("shape":[1,2],"data":[true,false],"datatype":"BOOL")")),
            (std::vector<float>{1, 0}));
  EXPECT_EQ(
      ValuesOf(WithInput(R"("shape":[1,2],"data":[18446744073709551615,2.0],"datatype":"UINT64")")),
      (std::vector<float>{18446744073709551615.0f, 2}));
}

TEST(InferenceJsonTest, IdParametersAndOutputsAreRead) {
  ModelInferRequest request;
  ASSERT_TRUE(FromJson(R"({"id":"a\u00e4","parameters":{"i":7,"b":true,"s":"x","d":1.5,"n":null},
                           "unknown":{"deep":[[1,2],{"data":[3]}]},
                           "inputs":[{"name":"features","shape":[1,1],"datatype":"FP32",
                                      "parameters":{"data":[9]},"data":[5]}],
                           "outputs":[{"name":"p","parameters":{"binary_data":false}},{"name":"q"}]})",
                       &request)
                  .ok());
  EXPECT_EQ(request.id(), "a\u00e4");
  EXPECT_EQ(request.parameters().at("i").int64_param(), 7);
  EXPECT_TRUE(request.parameters().at("b").bool_param());
  EXPECT_EQ(request.parameters().at("s").string_param(), "x");
  EXPECT_EQ(request.parameters().at("d").double_param(), 1.5);
  EXPECT_EQ(request.inputs(0).contents().fp32_contents_size(), 1);
  ASSERT_EQ(request.outputs_size(), 2);
  EXPECT_EQ(request.outputs(1).name(), "q");
}

TEST(InferenceJsonTest, WhatIsNoRequestIsRefusedWithItsPlace) {
  for (const char* json : {"", "nothing", "[1, 2", "5", "[]", "{\"a\": NaN}", "{\"a\": 1e999}",
                           "{\"inputs\": [", "{\"id\": \"\xff\"}"}) {
    EXPECT_EQ(FaultOf(json), "") << json;
  }
  EXPECT_EQ(FaultOf("{}"), "inputs");
  EXPECT_EQ(FaultOf(R"({"inputs": {}})"), "inputs");
  EXPECT_EQ(FaultOf(R"({"inputs": []})"), "inputs");
  EXPECT_EQ(FaultOf(R"({"inputs": [1]})"), "inputs");
  EXPECT_EQ(FaultOf(R"({"inputs": [{}, {}]})"), "inputs");
  EXPECT_EQ(FaultOf(R"({"inputs": [{}]})"), "inputs[0].name");
  EXPECT_EQ(FaultOf(R"({"inputs": [{"name": 1}]})"), "inputs[0].name");
  EXPECT_EQ(FaultOf(R"({"id": 7})"), "id");
  EXPECT_EQ(FaultOf(R"({"parameters": []})"), "parameters");
  EXPECT_EQ(FaultOf(WithInput(R"("shape":[1])")), "inputs[0].datatype");
  EXPECT_EQ(FaultOf(WithInput(R"("datatype":"FP32","shape":1)")), "inputs[0].shape");
  EXPECT_EQ(FaultOf(WithInput(R"("datatype":"FP32","shape":[1.5])")), "inputs[0].shape");
  const std::string good = WithInput(R"("datatype":"FP32","shape":[1,1],"data":[1])");
  EXPECT_EQ(FaultOf(good.substr(0, good.size() - 1) + R"(, "outputs": 1})"), "outputs");
  EXPECT_EQ(FaultOf(good.substr(0, good.size() - 1) + R"(, "outputs": [1]})"), "outputs");
  EXPECT_EQ(FaultOf(good.substr(0, good.size() - 1) + R"(, "outputs": [{}]})"), "outputs.name");
}

TEST(InferenceJsonTest, DataThatDoNotFitAreRefused) {
  const auto fault = [](const std::string& datatype, const std::string& data) {
    return FaultOf(
        WithInput(absl::StrCat(R"("shape":[2,2],"datatype":")", datatype, "\",\"data\":", data)));
  };
  for (const char* data : {"[[1,2],[3]]", "[[1,2,3,4]]", "[1,[2,3,4]]", "[[1,2],3,4]",
                           "[1,2,3,null]", "[1,2,3,\"4\"]", "[1,2,3,true]", "7"}) {
    EXPECT_EQ(fault("FP32", data), "inputs[0].data") << data;
  }
  EXPECT_EQ(fault("INT32", "[1,2,3,4.5]"), "inputs[0].data");
  EXPECT_EQ(fault("BOOL", "[1,0,1,0]"), "inputs[0].data");
  EXPECT_EQ(fault("FP32", "[1,2,3,4],\"data\":[1]"), "inputs[0].data");
  EXPECT_EQ(fault("FP32", "[1,2,3]"), "/inputs[0].contents.fp32_contents");
  EXPECT_EQ(fault("FP32", "[1,2,3,1e39]"), "/inputs[0].contents.fp32_contents[3]");
  EXPECT_EQ(fault("BYTES", "[\"a\",\"b\",\"c\",\"d\"]"), "/inputs[0].datatype");
  EXPECT_EQ(fault("FP16", "[1,2,3,4]"), "/inputs[0].contents");
}

TEST(InferenceJsonTest, DepthAndNumberOfValuesAreBounded) {
  std::string many = "{\"inputs\": [";
  for (int i = 0; i < 100'000; ++i) many += "{},";
  EXPECT_EQ(FaultOf(many + "{}]}"), "");
  const int depth = 1'000'000;
  const std::string deep = std::string(depth, '[') + std::string(depth, ']');
  EXPECT_EQ(FaultOf(absl::StrCat("{\"a\": ", deep, "}")), "");
  EXPECT_EQ(FaultOf(WithInput(absl::StrCat("\"data\": ", deep))), "");
  // Data are not bounded here.
  std::string data = "1";
  for (int i = 1; i < 10'000; ++i) data += ",1";
  EXPECT_EQ(ValuesOf(WithInput("\"datatype\":\"FP32\",\"shape\":[100,100],\"data\":[" + data + "]"))
                .size(),
            10'000);
}

TEST(InferenceJsonTest, NumbersReadBackAsTheSameFloats) {
  inference::ModelInferResponse response;
  response.set_model_name("m");
  response.set_model_version("12");
  response.set_id("\"\n");
  const std::vector<float> values = {0.1f, 1.0f / 3, 16777216.0f, 1e-45f, 3.4028235e38f, -0.0f};
  const MatrixView place = AddInferOutput(InferOutput::kPredictions, 6, 1, false, &response);
  std::copy(values.begin(), values.end(), place.data());
  EXPECT_EQ(ToJson(response),
            "{\"model_name\":\"m\",\"model_version\":\"12\",\"id\":\"\\\"\\n\",\"outputs\":["
            "{\"name\":\"predictions\",\"datatype\":\"FP32\",\"shape\":[6,1],\"data\":["
            "0.1,0.33333334,16777216,1e-45,3.4028235e+38,-0]}]}");
  place(0, 0) = std::numeric_limits<float>::infinity();
  EXPECT_NE(ToJson(response).find("[null,0.33"), std::string::npos);
}

TEST(InferenceJsonTest, TextOfAnyBytesBecomesJson) {
  EXPECT_EQ(ErrorToJson("a \"b\"\xff"), "{\"error\":\"a \\\"b\\\"\xEF\xBF\xBD\"}");
}

}  // namespace
}  // namespace lazynorm
