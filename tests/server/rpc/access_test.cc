#include "server/rpc/access.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "inference/inference_service.pb.h"
#include "lazynorm/v1/model_service.pb.h"
#include "lazynorm/v1/prediction_service.pb.h"
#include "lazynorm/v1/training_service.pb.h"
#include "server/rpc/named_models.h"

namespace lazynorm {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

TEST(AccessTest, WhatIsNotInTheTableIsTheAdministrators) {
  EXPECT_EQ(AccessOf("lazynorm.v1.ModelService", "SomethingNew").role, Role::kAdmin);
  EXPECT_EQ(AccessOf("some.Service", "Call").role, Role::kAdmin);
}

TEST(AccessTest, OnlyHealthIsOpen) {
  EXPECT_EQ(AccessOf("grpc.health.v1.Health", "Watch").role, Role::kNobody);
  for (const auto* file :
       {v1::ModelSpec::descriptor()->file(), v1::Model::descriptor()->file(),
        v1::TrainRequest::descriptor()->file(), v1::PredictRequest::descriptor()->file(),
        inference::ModelInferRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto* method = file->service(s)->method(m);
        EXPECT_NE(AccessOf(method->service()->full_name(), method->name()).role, Role::kNobody)
            << method->full_name();
      }
    }
  }
}

TEST(AccessTest, WhatMakesChangesOrTakesOutModelsIsAudited) {
  const std::set<std::string> read_only = {"GetModel", "ListModels", "WatchModel",
                                           "ListCheckpoints"};
  const auto* service = v1::Model::descriptor()->file()->service(0);
  ASSERT_EQ(service->full_name(), "lazynorm.v1.ModelService");
  for (int m = 0; m < service->method_count(); ++m) {
    const std::string& name = service->method(m)->name();
    EXPECT_EQ(AccessOf(service->full_name(), name).audited, read_only.count(name) == 0) << name;
  }
}

// Every text field that a request can hold, by the field's full name.
void AddTextFields(const Descriptor* message, std::set<const Descriptor*>& seen,
                   std::set<std::string>& fields) {
  if (!seen.insert(message).second) return;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (field->type() == FieldDescriptor::TYPE_STRING) fields.insert(field->full_name());
    if (field->message_type() != nullptr) AddTextFields(field->message_type(), seen, fields);
  }
}

// What names a model is what ForEachNamedModel sees; whoever adds a text field has to say here
// whether it names one.
TEST(NamedModelsTest, AllFieldsThatNameAModelAreKnown) {
  std::set<std::string> unknown;
  std::set<const Descriptor*> seen;
  for (const auto* file : {v1::Model::descriptor()->file(), v1::TrainRequest::descriptor()->file(),
                           v1::PredictRequest::descriptor()->file(),
                           inference::ModelInferRequest::descriptor()->file()}) {
    for (int m = 0; m < file->service(0)->method_count(); ++m) {
      AddTextFields(file->service(0)->method(m)->input_type(), seen, unknown);
    }
  }
  EXPECT_GT(unknown.size(), 30u);
  for (const char* not_a_model :
       {"inference.InferParameter.string_param",
        "inference.ModelConfigRequest.version",
        "inference.ModelInferRequest.InferInputTensor.ParametersEntry.key",
        "inference.ModelInferRequest.InferInputTensor.datatype",
        "inference.ModelInferRequest.InferInputTensor.name",
        "inference.ModelInferRequest.InferRequestedOutputTensor.ParametersEntry.key",
        "inference.ModelInferRequest.InferRequestedOutputTensor.name",
        "inference.ModelInferRequest.ParametersEntry.key",
        "inference.ModelInferRequest.id",
        "inference.ModelInferRequest.model_version",
        "inference.ModelMetadataRequest.version",
        "inference.ModelReadyRequest.version",
        "inference.ModelRepositoryParameter.string_param",
        "inference.ModelStatisticsRequest.version",
        "inference.RepositoryIndexRequest.repository_name",
        "inference.RepositoryModelLoadRequest.ParametersEntry.key",
        "inference.RepositoryModelUnloadRequest.ParametersEntry.key",
        "google.protobuf.FieldMask.paths",
        "lazynorm.v1.CreateCheckpointRequest.label",
        "lazynorm.v1.DeleteCheckpointRequest.checkpoint_id",
        "lazynorm.v1.ListModelsRequest.page_token",
        "lazynorm.v1.ModelSpec.class_names",
        "lazynorm.v1.ModelSpec.feature_names",
        "lazynorm.v1.NamedTensor.name",
        "lazynorm.v1.PredictRequest.prediction_ids",
        "lazynorm.v1.RestoreCheckpointRequest.checkpoint_id",
        "lazynorm.v1.TrainRequest.prediction_ids",
        "lazynorm.v1.TrainRequest.request_id"}) {
    EXPECT_EQ(unknown.erase(not_a_model), 1u) << not_a_model;
  }
  for (const std::string& field : std::set<std::string>(unknown)) {
    const std::string name = field.substr(field.rfind('.') + 1);
    if (name == "model" || name == "model_id" || name == "model_name" || name == "name" ||
        name == "repository_name" || field == "lazynorm.v1.Learning.shadow_of") {
      unknown.erase(field);
    }
  }
  EXPECT_EQ(unknown, std::set<std::string>());
}

template <typename Request>
std::vector<std::string> Named(const Request& request) {
  std::vector<std::string> models;
  ForEachNamedModel(request, [&](const std::string& model) { models.push_back(model); });
  return models;
}

TEST(NamedModelsTest, EachOfThemIsSeen) {
  using Models = std::vector<std::string>;
  v1::CopyModelRequest copy;
  copy.set_model("a");
  copy.set_model_id("b");
  EXPECT_EQ(Named(copy), (Models{"a", "b"}));
  v1::CreateModelRequest create;
  create.set_model_id("a");
  create.mutable_spec()->mutable_learning()->set_shadow_of("b");
  EXPECT_EQ(Named(create), (Models{"a", "b"}));
  v1::UpdateModelRequest update;
  update.set_model("a");
  update.mutable_learning()->set_shadow_of("b");
  EXPECT_EQ(Named(update), (Models{"a", "b"}));
  v1::ImportModelRequest import;
  import.mutable_spec()->mutable_learning()->set_shadow_of("b");
  EXPECT_EQ(Named(import), (Models{"b"}));
  inference::ModelInferRequest infer;
  infer.set_model_name("a");
  EXPECT_EQ(Named(infer), (Models{"a"}));
  inference::ModelStatisticsRequest statistics;
  EXPECT_EQ(Named(statistics), Models());
  statistics.set_name("a");
  EXPECT_EQ(Named(statistics), (Models{"a"}));
  inference::RepositoryModelLoadRequest load;
  load.set_repository_name("repository");
  EXPECT_EQ(Named(load), (Models{"repository"}));
  load.set_model_name("a");
  EXPECT_EQ(Named(load), (Models{"a"}));
  EXPECT_EQ(Named(v1::BackupRequest()), Models());
}

}  // namespace
}  // namespace lazynorm
