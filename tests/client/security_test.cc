#include "client/security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lazynorm {
namespace {

using testing::HasSubstr;

absl::Status Connected(const ClientOptions& options) {
  return Client::Connect(options).status();
}

TEST(ClientSecurityTest, ATokenGoesInPlainTextToThisMachineOnly) {
  for (const char* here :
       {"localhost:1", "localhost", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "unix:/tmp/socket"}) {
    EXPECT_TRUE(Connected({.target = here, .token = "t"}).ok()) << here;
  }
  for (const char* there : {"example.com:1", "10.0.0.1:1", "localhost.example.com:1", "[::2]:1",
                            "127.example.com:1", "dns:///localhost:1"}) {
    const absl::Status refused = Connected({.target = there, .token = "secret"});
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << there;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("expected TLS"));
    EXPECT_THAT(std::string(refused.message()), testing::Not(HasSubstr("secret")));
    EXPECT_TRUE(Connected({.target = there, .tls = true, .token = "t"}).ok()) << there;
    EXPECT_TRUE(Connected({.target = there}).ok()) << there;
  }
}

TEST(ClientSecurityTest, FilesThatCannotBeReadAreNamed) {
  EXPECT_THAT(std::string(Connected({.tls_ca = "/nowhere"}).message()),
              HasSubstr("tls_ca: cannot read /nowhere"));
  EXPECT_THAT(std::string(Connected({.tls_cert = "a", .tls_key = "/dev/null"}).message()),
              HasSubstr("tls_key: cannot read"));
  EXPECT_THAT(std::string(Connected({.tls_cert = "a"}).message()), HasSubstr("expected both"));
}

}  // namespace
}  // namespace lazynorm
