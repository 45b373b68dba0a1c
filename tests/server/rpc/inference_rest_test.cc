#include "server/rpc/inference_rest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Reply {
  int code = 0;
  json body;
};

Reply Parsed(const std::string& answer) {
  const size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos) return {};
  EXPECT_THAT(answer.substr(0, body), HasSubstr("Content-Type: application/json"));
  return {std::stoi(answer.substr(9, 3)), json::parse(answer.substr(body + 4), nullptr, false)};
}

// The body of an infer request.
json Query(const v1::Matrix& x) {
  return {{"inputs",
           {{{"name", "features"},
             {"datatype", "FP32"},
             {"shape", {x.rows(), x.columns()}},
             {"data", x.values()}}}}};
}

class InferenceRestTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    Prepare();
  }
  void Prepare() {
    ASSERT_TRUE(client().Create("m", "mlp { hidden: 4 } seed: 5").ok());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, i)).ok());
  }
  Reply Get(const std::string& path) { return Parsed(HttpGet(path)); }
  Reply Infer(const std::string& body, const std::string& model = "m") {
    return Parsed(HttpPost(absl::StrCat("/v2/models/", model, "/infer"), body));
  }
};

TEST_F(InferenceRestTest, NumbersAreThoseOfPredict) {
  json query = Query(RandomMatrix(5, 3, 1));
  query["id"] = "seven";
  const Reply reply = Infer(query.dump());
  ASSERT_EQ(reply.code, 200) << reply.body;
  EXPECT_EQ(reply.body["id"], "seven");
  EXPECT_EQ(reply.body["model_name"], "m");
  EXPECT_EQ(reply.body["model_version"], "3");
  const json& output = reply.body["outputs"].at(0);
  EXPECT_EQ(output["name"], "predictions");
  EXPECT_EQ(output["datatype"], "FP32");
  EXPECT_EQ(output["shape"], json({5, 1}));
  const auto predicted = client().Predict(RandomQuery("m", 5, 3, 1));
  const auto& expected = predicted->predictions().values();
  EXPECT_EQ(output["data"].get<std::vector<float>>(),
            std::vector<float>(expected.begin(), expected.end()));
  EXPECT_EQ(Metric("lazynorm_rows_predicted_total{model=\"m\"}"), "10");
}

TEST_F(InferenceRestTest, TheServerAndItsModelsTellAboutThemselves) {
  EXPECT_EQ(Get("/v2").body["name"], "lazynorm");
  EXPECT_EQ(Get("/v2").body["extensions"].size(), 3);
  EXPECT_EQ(Get("/v2/health/live").code, 200);
  EXPECT_EQ(Get("/v2/health/ready").code, 200);
  for (const char* path : {"/v2/models/m", "/v2/models/m/versions/3"}) {
    const Reply reply = Get(path);
    EXPECT_EQ(reply.code, 200);
    EXPECT_EQ(reply.body["versions"], json({"3"}));
    EXPECT_EQ(reply.body["inputs"][0]["shape"], json({-1, 3}));
    EXPECT_EQ(reply.body["outputs"][0]["name"], "predictions");
  }
  EXPECT_EQ(Get("/v2/models/m/ready").body, json({{"name", "m"}, {"ready", true}}));
  EXPECT_EQ(Get("/v2/models/m/versions/3/ready").code, 200);
}

TEST_F(InferenceRestTest, AVersionMustBeThePresentStep) {
  const std::string query = Query(RandomMatrix(2, 3, 1)).dump();
  EXPECT_EQ(Parsed(HttpPost("/v2/models/m/versions/3/infer", query)).code, 200);
  EXPECT_EQ(Parsed(HttpPost("/v2/models/m/versions/2/infer", query)).code, 404);
  EXPECT_EQ(Get("/v2/models/m/versions/2").code, 404);
  EXPECT_EQ(Get("/v2/models/m/versions/2/ready").code, 404);
}

TEST_F(InferenceRestTest, ErrorsHaveTheirCodeAndAMessage) {
  const json good = Query(RandomMatrix(2, 3, 1));
  Reply reply = Infer(Query(RandomMatrix(2, 4, 1)).dump());
  EXPECT_EQ(reply.code, 400);
  EXPECT_EQ(reply.body, json({{"error", "features: expected 3 columns, got 4"}}));
  reply = Infer("{");
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body["error"].get<std::string>(), HasSubstr("column 2"));
  json bad = good;
  bad["inputs"][0]["data"].erase(0);
  EXPECT_THAT(Infer(bad.dump()).body["error"].get<std::string>(),
              HasSubstr("inputs[0].data: expected 6 elements"));
  reply = Infer(good.dump(), "nobody");
  EXPECT_EQ(reply.code, 404);
  EXPECT_THAT(reply.body["error"].get<std::string>(), HasSubstr("nobody"));
  bad = good;
  bad["parameters"] = {{"min_step", 100}, {"timeout", 50'000}};
  reply = Infer(bad.dump());
  EXPECT_EQ(reply.code, 504);
  EXPECT_THAT(reply.body["error"].get<std::string>(), HasSubstr("step 100"));
}

TEST_F(InferenceRestTest, UnknownPathsAndMethodsAreRefused) {
  for (const char* path : {"/v2/nothing", "/v2/models", "/v2/health", "/v2/health/x",
                           "/v2/models/nobody", "/v2/models/m/x", "/v2/models/m/ready/x"}) {
    const Reply reply = Get(path);
    EXPECT_EQ(reply.code, 404) << path;
    EXPECT_TRUE(reply.body.contains("error")) << path;
  }
  EXPECT_EQ(Get("/v2/models/m/infer").code, 405);
  EXPECT_EQ(Parsed(HttpPost("/v2/models/m", "")).code, 405);
}

TEST_F(InferenceRestTest, ABodyBeyondTheLimitIsRefusedUnread) {
  Options options = TestOptions();
  options.max_message_bytes = 2000;
  Start(options);
  Prepare();
  const std::string query = Query(RandomMatrix(2, 3, 1)).dump();
  EXPECT_EQ(Infer(query + std::string(2000 - query.size(), ' ')).code, 200);
  const Reply reply = Infer(query + std::string(2001 - query.size(), ' '));
  EXPECT_EQ(reply.code, 413);
  EXPECT_THAT(reply.body["error"].get<std::string>(), HasSubstr("2000 bytes"));
}

TEST_F(InferenceRestTest, ALazyModelIsResolvedByItsFirstRows) {
  ASSERT_TRUE(client().Create("lazy", "mlp {}").ok());
  EXPECT_EQ(Get("/v2/models/lazy").body["inputs"][0]["shape"], json({-1, -1}));
  EXPECT_EQ(Infer(Query(RandomMatrix(2, 5, 1)).dump(), "lazy").code, 200);
  EXPECT_EQ(Get("/v2/models/lazy").body["inputs"][0]["shape"], json({-1, 5}));
}

TEST_F(InferenceRestTest, CallersWhoWaitDoNotKeepProbesWaiting) {
  json query = Query(RandomMatrix(2, 3, 1));
  query["parameters"] = {{"min_step", 4}};
  std::vector<std::future<Reply>> waiting;
  for (int i = 0; i < 12; ++i) {
    waiting.push_back(std::async(std::launch::async, [&] { return Infer(query.dump()); }));
  }
  // One is refused as soon as the others take all the threads that they may have.
  ASSERT_TRUE(Soon([&] {
    return std::any_of(waiting.begin(), waiting.end(), [](const std::future<Reply>& one) {
      return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    });
  }));
  const absl::Time begin = absl::Now();
  EXPECT_THAT(HttpGet("/healthz"), HasSubstr("200 OK"));
  EXPECT_LT(absl::Now() - begin, InferenceRest::kLongest / 2);
  ASSERT_TRUE(client().Train(RandomStep("m", 8, 3, 9)).ok());
  int answered = 0, refused = 0;
  for (auto& one : waiting) {
    const int code = one.get().code;
    answered += code == 200 ? 1 : 0;
    refused += code == 503 ? 1 : 0;
  }
  EXPECT_EQ(answered + refused, 12);
  EXPECT_GT(answered, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(InferenceRestTest, AServerThatDrainsSaysSo) {
  server_->BeginDrain();
  EXPECT_EQ(Get("/v2/health/live").code, 200);
  EXPECT_EQ(Get("/v2/health/ready").code, 503);
  EXPECT_EQ(Get("/v2/models/m/ready").code, 503);
  EXPECT_EQ(Infer(Query(RandomMatrix(2, 3, 1)).dump()).code, 200);  // still served
  server_->Stop(absl::ZeroDuration());
  const Reply reply = Infer(Query(RandomMatrix(2, 3, 1)).dump());
  EXPECT_EQ(reply.code, 503);
  EXPECT_THAT(reply.body["error"].get<std::string>(), HasSubstr("draining"));
}

}  // namespace
}  // namespace lazynorm
