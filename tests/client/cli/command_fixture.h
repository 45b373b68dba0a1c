#ifndef LAZYNORM_TESTS_CLIENT_CLI_COMMAND_FIXTURE_H_
#define LAZYNORM_TESTS_CLIENT_CLI_COMMAND_FIXTURE_H_

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "tests/client/fake_server.h"

namespace lazynorm {

// What a command that ran as a process left.
struct Outcome {
  int code = -1;
  std::string out, err;
};

inline std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The JSON object in `text`; fails the test if it is none.
inline google::protobuf::Struct ParseJson(const std::string& text) {
  google::protobuf::Struct object;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &object);
  EXPECT_TRUE(status.ok()) << std::string(status.message()) << " in " << text;
  return object;
}

inline double NumberIn(const google::protobuf::Struct& object, const std::string& key) {
  const auto found = object.fields().find(key);
  EXPECT_TRUE(found != object.fields().end()) << "no " << key;
  return found == object.fields().end() ? NAN : found->second.number_value();
}

// The commands as processes, against a server that speaks the API.
class CommandTest : public ::testing::Test {
 protected:
  CommandTest() {
    char name[] = "/tmp/lazynorm-cli-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~CommandTest() override { std::filesystem::remove_all(folder_); }

  // Runs the shell line `before` + the command with `arguments`.
  Outcome Run(const std::string& arguments, const std::string& before = "") {
    const std::string line = before + " LAZYNORM_SERVER=" + server_.address() + " " + LAZYNORM_BIN +
                             "/lazynorm " + arguments + " >" + folder_ + "/out 2>" + folder_ +
                             "/err";
    const int status = std::system(line.c_str());
    return {WEXITSTATUS(status), ReadFile(folder_ + "/out"), ReadFile(folder_ + "/err")};
  }

  std::string File(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }

  FakeState& state() { return server_.state(); }

  FakeServer server_;
  std::string folder_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_CLIENT_CLI_COMMAND_FIXTURE_H_
