#include "server/rpc/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/formats/safetensors.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr char kStreamSpec[] =
    "layers { batch_norm { training_statistics: TRAINING_STATISTICS_RUNNING } }"
    "layers { linear { out_features: 4 } } layers { batch_norm {} }"
    "layers { activation { kind: ACTIVATION_KIND_RELU } } layers { linear { out_features: 1 } }"
    "learning { normalize_targets: true hedge_rate: 0.3 hedge_discount: 0.95"
    "  experts { updates_per_request: 1 } experts { updates_per_request: 3 } } seed: 5";

class TransferTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    Learn("m", kStreamSpec);
  }
  void Learn(const std::string& model, const std::string& spec) {
    ASSERT_TRUE(client().Create(model, spec).ok());
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(client().Train(RandomStep(model, 8, 3, i)).ok());
  }
  Answer<std::string> Export(const std::string& model,
                             v1::ExportFormat format = v1::EXPORT_FORMAT_SAFETENSORS) {
    v1::ExportModelRequest request;
    request.set_model(model);
    request.set_format(format);
    grpc::ClientContext context;
    const auto reader = client().models->ExportModel(&context, request);
    Answer<std::string> answer;
    v1::ExportModelResponse piece;
    while (reader->Read(&piece)) answer.response += piece.data();
    answer.status = reader->Finish();
    return answer;
  }
  Answer<v1::Model> Send(const std::vector<v1::ImportModelRequest>& messages) {
    grpc::ClientContext context;
    Answer<v1::Model> answer;
    const auto writer = client().models->ImportModel(&context, &answer.response);
    for (const auto& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    answer.status = writer->Finish();
    return answer;
  }
  static v1::ImportModelRequest Piece(const std::string& data, const std::string& model = "") {
    v1::ImportModelRequest message;
    message.set_model_id(model);
    message.set_data(data);
    return message;
  }
  Answer<v1::Model> Import(const std::string& model, const std::string& file) {
    return Send({Piece(file.substr(0, 100), model), Piece(file.substr(100))});
  }
  // With a spec of its own.
  Answer<v1::Model> ImportAs(const std::string& model, const std::string& spec,
                             const std::vector<StateTensor>& tensors) {
    v1::ImportModelRequest message = Piece(ToSafetensors({{}, tensors}), model);
    *message.mutable_spec() = Parse<v1::ModelSpec>(spec);
    return Send({message});
  }
  static std::vector<StateTensor> Linear() {
    return {{"0.weight", {1, 2}, {1, 2}, {}}, {"0.bias", {1}, {3}, {}}};
  }
  // Name, shape, bytes; in whatever order.
  static std::map<std::string, StateTensor> TensorsOf(const std::string& file) {
    std::map<std::string, StateTensor> tensors;
    const auto read = FromSafetensors(file);
    EXPECT_TRUE(read.ok()) << read.status();
    for (const StateTensor& tensor : read->tensors) tensors[tensor.name] = tensor;
    return tensors;
  }
};

TEST_F(TransferTest, AnExportedModelIsItsStateUnderTorchsNames) {
  const auto file = Export("m");
  ASSERT_TRUE(file.ok()) << file.error();
  const auto read = FromSafetensors(file.response);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->metadata.at("format"), "pt");
  EXPECT_EQ(read->metadata.at("lazynorm_step"), "5");
  EXPECT_THAT(read->metadata.at("lazynorm_spec"), HasSubstr("batchNorm"));
  const auto state = client().State("m");
  auto tensors = TensorsOf(file.response);
  EXPECT_EQ(tensors.size(), state->tensors_size());
  for (const v1::NamedTensor& expected : state->tensors()) {
    const StateTensor& tensor = tensors[expected.name()];
    EXPECT_EQ(tensor.values,
              std::vector<float>(expected.values().begin(), expected.values().end()));
    EXPECT_EQ(tensor.int64_values,
              std::vector<int64_t>(expected.int64_values().begin(), expected.int64_values().end()));
    EXPECT_EQ(tensor.shape, std::vector<int64_t>(expected.shape().begin(), expected.shape().end()));
  }
  EXPECT_TRUE(tensors.contains("1.weight") && tensors.contains("experts.1.1.weight") &&
              tensors.contains("targets.running_mean"));
}

TEST_F(TransferTest, AStateGoesRoundBitForBit) {
  const auto file = Export("m");
  const auto model = Import("again", file.response);
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->model_id(), "again");
  EXPECT_EQ(model->state(), v1::STATE_READY);
  EXPECT_EQ(model->in_features(), 3);
  EXPECT_EQ(model->spec().SerializeAsString(), client().Get("m")->spec().SerializeAsString());
  const auto again = Export("again");
  ASSERT_TRUE(again.ok()) << again.error();
  // All but the step, which begins anew.
  const size_t at = file.response.find("lazynorm_step");
  std::string expected = file.response;
  expected.replace(expected.find("\"5\"", at), 3, "\"0\"");
  EXPECT_EQ(again.response, expected);
  // Statistics lost what float32 does not hold.
  const auto predicted = client().Predict(RandomQuery("m", 9, 3, 7));
  const auto same = client().Predict(RandomQuery("again", 9, 3, 7));
  for (int i = 0; i < 9; ++i) {
    EXPECT_NEAR(same->predictions().values(i), predicted->predictions().values(i), 1e-5);
  }
  EXPECT_TRUE(client().Train(RandomStep("again", 8, 3, 1)).ok());
}

TEST_F(TransferTest, AnImportedModelIsThereAfterARestart) {
  const auto file = Export("m");
  Options options = TestOptions();
  options.store = "";
  options.data_dir = absl::StrCat(testing::TempDir(), "/transfer-", getpid());
  std::filesystem::remove_all(options.data_dir);
  Start(options);
  ASSERT_TRUE(Import("kept", file.response).ok());
  const auto before = Export("kept");
  ASSERT_TRUE(client().Train(RandomStep("kept", 8, 3, 1)).ok());
  const auto after = Export("kept");
  Start(options);
  EXPECT_EQ(client().Get("kept")->step(), 1);
  EXPECT_EQ(Export("kept").response, after.response);
  EXPECT_NE(before.response, after.response);
  server_.reset();
  std::filesystem::remove_all(options.data_dir);
}

TEST_F(TransferTest, AStateOfAnotherProgramNeedsASpec) {
  EXPECT_EQ(Send({Piece(ToSafetensors({{}, Linear()}), "torch")}).error(),
            Invalid("INVALID_SPEC", "spec"));
  ASSERT_TRUE(ImportAs("torch", "layers { linear { out_features: 1 } }", Linear()).ok());
  v1::PredictRequest request;
  request.set_model("torch");
  *request.mutable_features() = MakeMatrix(1, 2, {10, 100});
  EXPECT_EQ(client().Predict(request)->predictions().values(0), 213);
}

TEST_F(TransferTest, TensorsThatAreNotTheModelsAreRefusedByName) {
  constexpr char kSpec[] = "layers { linear { out_features: 1 } }";
  auto tensors = Linear();
  tensors.push_back({"1.surplus", {1}, {1}, {}});
  auto answer = ImportAs("x", kSpec, tensors);
  EXPECT_EQ(answer.error().reason, "INVALID_STATE");
  EXPECT_THAT(answer.error().message, HasSubstr("1.surplus"));
  tensors = {Linear()[0]};
  answer = ImportAs("x", kSpec, tensors);
  EXPECT_EQ(answer.error().reason, "INVALID_STATE");
  EXPECT_THAT(answer.error().message, HasSubstr("0.bias"));
  tensors = Linear();
  tensors[1].values[0] = NAN;
  EXPECT_EQ(ImportAs("x", kSpec, tensors).error().reason, "INVALID_STATE");
  EXPECT_EQ(ImportAs("x", kSpec, {}).error(), Invalid("INVALID_STATE", "data"));
  EXPECT_EQ(client().Get("x").error().code, StatusCode::NOT_FOUND);
}

TEST_F(TransferTest, ABadImportMakesNothing) {
  const std::string file = Export("m").response;
  EXPECT_EQ(Import("x", file.substr(0, file.size() - 1)).error(), Invalid("INVALID_STATE", "data"));
  EXPECT_EQ(Import("x", std::string(500, 'x')).error(), Invalid("INVALID_STATE", "data"));
  EXPECT_EQ(Send({}).error(), Invalid("INVALID_MODEL_ID", "model_id"));
  EXPECT_EQ(Import("Bad", file).error(), Invalid("INVALID_MODEL_ID", "model_id"));
  EXPECT_EQ(Send({Piece(file, "x"), Piece("", "y")}).error(),
            Invalid("INVALID_MODEL_ID", "model_id"));
  std::string other_spec = file;
  other_spec.replace(other_spec.find("lazynorm_spec"), 13, "lazynorm_spex");
  EXPECT_EQ(Import("x", other_spec).error(), Invalid("INVALID_SPEC", "spec"));
  EXPECT_EQ(Import("m", file).error(), Error(StatusCode::ALREADY_EXISTS, "MODEL_EXISTS"));
  EXPECT_EQ(client().Get("x").error().code, StatusCode::NOT_FOUND);
}

TEST_F(TransferTest, AFileBeyondTheLimitIsRefusedBeforeItsEnd) {
  Options options = TestOptions();
  options.max_parameters = 100;
  Start(options);
  const std::string megabyte(1 << 20, 'x');
  std::vector<v1::ImportModelRequest> messages(40, Piece(megabyte));
  messages[0] = Piece(megabyte, "x");
  EXPECT_EQ(Send(messages).error(), Invalid("LIMIT_EXCEEDED", "data"));
}

TEST_F(TransferTest, ImportsAtOnceAreFew) {
  struct Open {
    grpc::ClientContext context;
    v1::Model model;
    std::unique_ptr<grpc::ClientWriter<v1::ImportModelRequest>> writer;
  };
  std::vector<std::unique_ptr<Open>> streams;
  const auto received = [&] {
    return Metric(
        "grpc_server_msg_received_total{grpc_method=\"ImportModel\",grpc_service="
        "\"lazynorm.v1.ModelService\",grpc_type=\"client_stream\"}");
  };
  for (int i = 0; i < Transfer::kMostImports; ++i) {
    auto& open = *streams.emplace_back(std::make_unique<Open>());
    open.writer = client().models->ImportModel(&open.context, &open.model);
    ASSERT_TRUE(open.writer->Write(Piece("x", absl::StrCat("x", i))));
    ASSERT_TRUE(Soon([&] { return received() == absl::StrCat(i + 1); }));
  }
  const std::string file = Export("m").response;
  EXPECT_EQ(Import("late", file).error(),
            Error(StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS"));
  streams.front()->context.TryCancel();
  streams.front()->writer->Finish();
  EXPECT_TRUE(Soon([&] { return Import("late", file).ok(); }));
  for (auto& open : streams) open->context.TryCancel();
  for (size_t i = 1; i < streams.size(); ++i) streams[i]->writer->Finish();
}

TEST_F(TransferTest, WhatCannotBeExportedIsRefused) {
  const ErrorDetails refused = Error(StatusCode::FAILED_PRECONDITION, "NOT_EXPORTABLE");
  ASSERT_TRUE(client().Create("lazy", "mlp {}").ok());
  EXPECT_EQ(Export("lazy").error(), refused);
  EXPECT_EQ(Export("lazy", v1::EXPORT_FORMAT_ONNX).error(), refused);
  ASSERT_TRUE(client()
                  .Create("untracked",
                          "layers { batch_norm { track_running_stats: false } } in_features: 2")
                  .ok());
  EXPECT_EQ(Export("untracked", v1::EXPORT_FORMAT_ONNX).error(), refused);
  EXPECT_EQ(Export("m", static_cast<v1::ExportFormat>(9)).error(),
            Invalid("TARGET_MISMATCH", "format"));
  EXPECT_EQ(Export("nobody").error(), Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"));
}

TEST_F(TransferTest, ALargeModelIsSentInPieces) {
  ASSERT_TRUE(
      client().Create("large", "layers { linear { out_features: 900 } } in_features: 900").ok());
  const auto file = Export("large");
  ASSERT_TRUE(file.ok()) << file.error();
  EXPECT_EQ(TensorsOf(file.response)["0.weight"].values.size(), 810'000);
  const auto onnx = Export("large", v1::EXPORT_FORMAT_ONNX);
  EXPECT_GT(onnx.response.size(), 810'000 * sizeof(float));
}

}  // namespace
}  // namespace lazynorm
