#ifndef LAZYNORM_TESTS_SERVER_SECURITY_FIXTURE_H_
#define LAZYNORM_TESTS_SERVER_SECURITY_FIXTURE_H_

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/server_fixture.h"
#include "tests/support/token_line.h"

namespace lazynorm {

// A server with callers of every role, two models, and its log kept.
class SecurityTest : public ServerFixture {
 protected:
  void SetUp() override {
    Write(absl::StrCat(TokenLine("root", "admin"), TokenLine("reader", "predict"),
                       TokenLine("feeder", "train"), TokenLine("team", "admin", "team-*"),
                       TokenLine("half", "train", "team-*")));
    // Before there is a thread that logs.
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", log_sink_));
    Options options = TestOptions();
    options.auth_tokens_file = path_;
    Start(options);
    as_ = "root";
    ASSERT_TRUE(Create("team-a").ok());
    ASSERT_TRUE(Create("other").ok());
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
    spdlog::set_default_logger(logger_);
  }

  void Write(const std::string& text) { std::ofstream(path_) << text; }

  // Gives a call the token of the present caller.
  void Sign(grpc::ClientContext& context) const {
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    if (!as_.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", as_, "-secret"));
  }
  template <class Stub, class Request, class Response>
  Answer<Response> Call(Stub& stub,
                        grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                     Response*),
                        const Request& request) {
    grpc::ClientContext context;
    Sign(context);
    Answer<Response> answer;
    answer.status = (stub.*method)(&context, request, &answer.response);
    return answer;
  }
  Answer<v1::Model> Create(const std::string& id, const std::string& spec = "mlp {}") {
    v1::CreateModelRequest request;
    request.set_model_id(id);
    *request.mutable_spec() = Parse<v1::ModelSpec>(spec);
    return Call(*client().models, &v1::ModelService::Stub::CreateModel, request);
  }
  Answer<v1::Model> Get(const std::string& id) {
    v1::GetModelRequest request;
    request.set_model(id);
    return Call(*client().models, &v1::ModelService::Stub::GetModel, request);
  }
  Answer<v1::Model> Copy(const std::string& id, const std::string& to) {
    v1::CopyModelRequest request;
    request.set_model(id);
    request.set_model_id(to);
    return Call(*client().models, &v1::ModelService::Stub::CopyModel, request);
  }
  Answer<v1::Model> Shadow(const std::string& id, const std::string& of) {
    v1::UpdateModelRequest request;
    request.set_model(id);
    request.mutable_learning()->set_shadow_of(of);
    request.mutable_update_mask()->add_paths("learning.shadow_of");
    return Call(*client().models, &v1::ModelService::Stub::UpdateModel, request);
  }
  ErrorDetails Train(const std::string& id) {
    return Call(*client().training, &v1::TrainingService::Stub::Train, RandomStep(id, 4, 2, 1))
        .error();
  }
  ErrorDetails Predict(const std::string& id) {
    return Call(*client().prediction, &v1::PredictionService::Stub::Predict,
                RandomQuery(id, 1, 2, 1))
        .error();
  }
  // The ids of a page.
  std::vector<std::string> List(int page_size, std::string* page_token) {
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(*page_token);
    const auto answer = Call(*client().models, &v1::ModelService::Stub::ListModels, request);
    EXPECT_TRUE(answer.ok()) << answer.error();
    std::vector<std::string> ids;
    for (const v1::Model& model : answer->models()) ids.push_back(model.model_id());
    *page_token = answer->next_page_token();
    return ids;
  }
  std::string Rest(const std::string& path, const std::string& authorization) const {
    return HttpGet(absl::StrCat(path, " HTTP/1.1\r\n", authorization, "X: "));
  }

  const std::string path_ = testing::TempDir() + "/tokens." +
                            testing::UnitTest::GetInstance()->current_test_info()->name();
  std::string as_;  // whose token is sent; empty: none
  std::ostringstream log_;
  const std::shared_ptr<spdlog::sinks::ostream_sink_mt> log_sink_ =
      std::make_shared<spdlog::sinks::ostream_sink_mt>(log_);
  const std::shared_ptr<spdlog::logger> logger_ = spdlog::default_logger();
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_SECURITY_FIXTURE_H_
