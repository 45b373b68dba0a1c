#include "server/formats/onnx.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "model/errors.h"
#include "model/learner.h"

namespace lazynorm {
namespace {

// Numbers are compared with another runtime's in tests/node/onnx.test.js; here, the form.

std::unique_ptr<Learner> Make(ModelSpec spec) {
  spec.in_features = 3;
  auto learner = Learner::Create(std::move(spec), Limits());
  EXPECT_TRUE(learner.ok()) << learner.status();
  return *std::move(learner);
}

absl::StatusOr<onnx::ModelProto> Export(const Learner& learner) {
  OnnxWriter writer(learner.in_features(), learner.spec().loss);
  learner.AddTo(writer);
  const auto bytes = std::move(writer).Finish(17, "1.2.3");
  if (!bytes.ok()) return bytes.status();
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(*bytes));
  return model;
}

std::string Operators(const onnx::ModelProto& model) {
  std::vector<std::string> names;
  for (const auto& node : model.graph().node()) names.push_back(node.op_type());
  return absl::StrJoin(names, " ");
}

ModelSpec Plain() {
  return {.layers = {LinearSpec{.out_features = 4}, BatchNormSpec{},
                     ActivationSpec{.kind = ActivationKind::kRelu}, DropoutSpec{.p = 0.5},
                     LinearSpec{.out_features = 2}}};
}

TEST(OnnxTest, AModelSaysWhatItIs) {
  const auto model = Export(*Make(Plain()));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->ir_version(), 8);
  ASSERT_EQ(model->opset_import_size(), 1);
  EXPECT_EQ(model->opset_import(0).domain(), "");
  EXPECT_EQ(model->opset_import(0).version(), 17);
  EXPECT_EQ(model->producer_name(), "lazynorm");
  EXPECT_EQ(model->producer_version(), "1.2.3");
  ASSERT_EQ(model->metadata_props_size(), 1);
  EXPECT_EQ(model->metadata_props(0).key(), "lazynorm_step");
  EXPECT_EQ(model->metadata_props(0).value(), "17");
  EXPECT_EQ(model->graph().input(0).ShortDebugString(),
            "name: \"features\" type { tensor_type { elem_type: 1 shape { "
            "dim { dim_param: \"batch\" } dim { dim_value: 3 } } } }");
  ASSERT_EQ(model->graph().output_size(), 1);
  EXPECT_EQ(model->graph().output(0).ShortDebugString(),
            "name: \"predictions\" type { tensor_type { elem_type: 1 shape { "
            "dim { dim_param: \"batch\" } dim { dim_value: 2 } } } }");
}

TEST(OnnxTest, LayersKeepTheirOperatorsAndTensorsTheirNames) {
  const auto model = Export(*Make(Plain()));
  EXPECT_EQ(Operators(*model), "Gemm BatchNormalization Relu Gemm");
  std::vector<std::string> names;
  for (const auto& tensor : model->graph().initializer()) names.push_back(tensor.name());
  EXPECT_EQ(absl::StrJoin(names, " "),
            "0.weight 0.bias 1.weight 1.bias 1.running_mean 1.running_var 4.weight 4.bias");
  const auto& weight = model->graph().initializer(0);
  EXPECT_EQ(weight.dims(0), 4);
  EXPECT_EQ(weight.dims(1), 3);
  EXPECT_EQ(weight.raw_data().size(), 12 * sizeof(float));
  EXPECT_EQ(model->graph().node(0).attribute(0).ShortDebugString(),
            "name: \"transB\" i: 1 type: INT");
  EXPECT_EQ(model->graph().node(1).attribute(1).name(), "training_mode");
  EXPECT_EQ(model->graph().node(1).output_size(), 1);
}

TEST(OnnxTest, WhatRunningCutsIsAClipAndTargetsAreScaledBack) {
  ModelSpec spec = Plain();
  spec.layers[1] = BatchNormSpec{.training_statistics = TrainingStatistics::kRunning};
  spec.learning.normalize_targets = true;
  EXPECT_EQ(Operators(*Export(*Make(spec))),
            "Gemm BatchNormalization Clip Mul Add Relu Gemm Mul Add");
}

TEST(OnnxTest, ANormOfTheFeaturesBeginsBySubtracting) {
  const auto model = Export(*Make({.layers = {BatchNormSpec{}, LinearSpec{.out_features = 1}}}));
  EXPECT_EQ(Operators(*model), "Sub BatchNormalization Gemm");
}

TEST(OnnxTest, ClassifiersHaveProbabilities) {
  ModelSpec spec = Plain();
  spec.loss.kind = LossKind::kCrossEntropy;
  const auto model = Export(*Make(spec));
  EXPECT_EQ(Operators(*model), "Gemm BatchNormalization Relu Gemm Softmax");
  ASSERT_EQ(model->graph().output_size(), 2);
  EXPECT_EQ(model->graph().output(1).name(), "probabilities");
  spec.loss.kind = LossKind::kBceWithLogits;
  EXPECT_EQ(Operators(*Export(*Make(spec))), "Gemm BatchNormalization Relu Gemm Sigmoid");
}

TEST(OnnxTest, ExpertsAreAveraged) {
  ModelSpec spec = {.layers = {LinearSpec{.out_features = 1}}};
  spec.learning.experts = {ExpertSpec{}, ExpertSpec{}};
  EXPECT_EQ(Operators(*Export(*Make(spec))), "Gemm Gemm Mul Mul Sum");
  spec.loss.kind = LossKind::kBceWithLogits;
  EXPECT_EQ(Operators(*Export(*Make(spec))),
            "Gemm Gemm Sigmoid Mul Sigmoid Mul Sum Max Log "
            "Neg Sigmoid Mul Neg Sigmoid Mul Sum Max Log Sub Sigmoid");
}

TEST(OnnxTest, ANetworkThatDoesNothingIsAnIdentity) {
  OnnxWriter writer(1, LossSpec());
  writer.BeginExpert(1);
  writer.Activate({.kind = ActivationKind::kIdentity});
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(*std::move(writer).Finish(0, "")));
  EXPECT_EQ(Operators(model), "Identity");
}

TEST(OnnxTest, AVarianceOfNothingGivesNothing) {
  OnnxWriter writer(1, LossSpec());
  const double mean = 5, var = 0;
  writer.BeginExpert(1);
  writer.BeginLayer(0);
  writer.Normalize(&mean, &var, 0, nullptr, nullptr, 0);
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(*std::move(writer).Finish(0, "")));
  const auto number = [&](const std::string& name) {
    for (const auto& tensor : model.graph().initializer()) {
      if (tensor.name() == name) return *reinterpret_cast<const float*>(tensor.raw_data().data());
    }
    return -1.0f;
  };
  EXPECT_EQ(number("0.weight"), 0);
  EXPECT_EQ(number("0.running_var"), 1);
}

TEST(OnnxTest, BatchStatisticsCannotBeExported) {
  const auto model = Export(*Make(
      {.layers = {LinearSpec{.out_features = 2}, BatchNormSpec{.track_running_stats = false}}}));
  EXPECT_EQ(model.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(model.status()), "NOT_EXPORTABLE");
  EXPECT_NE(std::string(model.status().message()).find("layer 1"), std::string::npos);
}

}  // namespace
}  // namespace lazynorm
