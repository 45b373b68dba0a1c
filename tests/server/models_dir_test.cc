#include "server/models_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using testing::HasSubstr;

// A folder of model specs.
class ModelsDirTest : public ServerFixture {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/models-", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(absl::StrCat(folder_, "/", name)) << text;
  }
  absl::StatusOr<std::unique_ptr<Server>> StartHere() {
    Options options = TestOptions();
    options.models_dir = folder_;
    return Server::Start(options);
  }
  std::string folder_;
};

TEST_F(ModelsDirTest, EachSpecIsAModelAtStart) {
  Write("text.textproto", "mlp { hidden: 4 } seed: 7");
  Write("json.json", R"({"mlp": {"hidden": [2]}, "inFeatures": 3})");
  Write("README.md", "not a spec");
  auto server = StartHere();
  ASSERT_TRUE(server.ok()) << server.status();
  Connection client((*server)->ports()[0]);
  EXPECT_EQ(client.Get("text")->spec().seed(), 7u);
  EXPECT_EQ(client.Get("json")->in_features(), 3);
  EXPECT_EQ(client.Health("models/text"), grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(ModelsDirTest, AFileThatIsWrongIsNamed) {
  for (const auto& [name, text] : std::vector<std::pair<std::string, std::string>>{
           {"a.textproto", "mlp { hidden: nonsense }"},
           {"b.json", "{"},
           {"c.textproto", "mlp { hidden: -1 }"},
           {"d.textproto", "mlp {} feature_names: \"\\377\""},
           {"Bad_Name.textproto", "mlp {}"}}) {
    Write(name, text);
    const absl::Status status = StartHere().status();
    EXPECT_FALSE(status.ok()) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
    std::filesystem::remove(absl::StrCat(folder_, "/", name));
  }
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(StartHere().status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace lazynorm
