#include "server/metrics/http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/metrics/metrics.h"

namespace lazynorm {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// The whole answer, head and body; "" if nobody answers.
std::string Ask(int port, const std::string& method, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request =
        absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  }
  close(fd);
  return answer;
}

std::string Get(int port, const std::string& path) {
  return Ask(port, "GET", path);
}

class MetricsHttpTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = Start("127.0.0.1:0");
    ASSERT_TRUE(started.ok()) << started.status();
    http_ = *std::move(started);
    ASSERT_GT(http_->port(), 0);
  }

  absl::StatusOr<std::unique_ptr<MetricsHttp>> Start(const std::string& address, bool page = false,
                                                     HttpApi api = {}) {
    return MetricsHttp::Start(
        address, metrics_, [this] { return healthy_.load(); }, [this] { return ready_.load(); },
        page, std::move(api));
  }

  Metrics metrics_{"1.2.3", "v3"};
  std::atomic<bool> healthy_ = true;
  std::atomic<bool> ready_ = false;
  std::unique_ptr<MetricsHttp> http_;
};

TEST_F(MetricsHttpTest, ServesTheMetricsAsPrometheusText) {
  const std::string answer = Get(http_->port(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("\nlazynorm_build_info{kernels=\"v3\",version=\"1.2.3\"} 1\n"));
}

TEST_F(MetricsHttpTest, ProbesFollowTheirCallbacks) {
  EXPECT_THAT(Get(http_->port(), "/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  const std::string unready = Get(http_->port(), "/readyz");
  EXPECT_THAT(unready, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(unready, HasSubstr("\r\n\r\nnot ready\n"));
  healthy_ = false;
  ready_ = true;
  EXPECT_THAT(Get(http_->port(), "/healthz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Get(http_->port(), "/readyz"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(MetricsHttpTest, ThePageIsServedWhereItIsWantedAndNeedsNothingFromElsewhere) {
  const auto http = Start("127.0.0.1:0", true);
  ASSERT_TRUE(http.ok()) << http.status();
  const std::string page = Get((*http)->port(), "/");
  EXPECT_THAT(page, StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"));
  EXPECT_THAT(page, HasSubstr("\r\nContent-Security-Policy: default-src 'none'; "));
  EXPECT_THAT(page, HasSubstr("\r\n\r\n<!doctype html>"));
  EXPECT_THAT(page, EndsWith("</html>\n"));
  EXPECT_THAT(Get((*http)->port(), "/index.html"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(MetricsHttpTest, AHeadIsAnsweredAsAGetWithoutTheBody) {
  const auto api = [](const HttpRequest& request) { return HttpAnswer{.body = request.method}; };
  const auto started = Start("127.0.0.1:0", /*page=*/true, {.answer = api});
  ASSERT_TRUE(started.ok());
  const int port = (*started)->port();
  for (const char* path : {"/", "/healthz", "/readyz", "/nothing", "/v2"}) {
    const std::string whole = Get(port, path);
    const size_t end = whole.find("\r\n\r\n") + 4;
    EXPECT_LT(end, whole.size()) << path;
    EXPECT_EQ(Ask(port, "HEAD", path), whole.substr(0, end)) << path;
  }
  const std::string metrics = Ask(port, "HEAD", "/metrics");  // another length each time
  EXPECT_THAT(metrics, StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(metrics, EndsWith("\r\n\r\n"));
}

TEST_F(MetricsHttpTest, WhoIsNotKnownHearsHowToShowWhoItIs) {
  const auto api = [](const HttpRequest& request) {
    return HttpAnswer{.code = request.path == "/v2" ? 401 : 403, .body = "{}"};
  };
  const auto started = Start("127.0.0.1:0", /*page=*/false, {.answer = api});
  ASSERT_TRUE(started.ok());
  const std::string unknown = Get((*started)->port(), "/v2");
  EXPECT_THAT(unknown, StartsWith("HTTP/1.1 401 Unauthorized\r\n"));
  EXPECT_THAT(unknown, HasSubstr("\r\nWWW-Authenticate: Bearer\r\n"));
  EXPECT_THAT(Get((*started)->port(), "/v2/health"), Not(HasSubstr("WWW-Authenticate")));
}

TEST_F(MetricsHttpTest, AnythingElseIsNotFound) {
  for (const char* path : {"/", "/metrics/x", "/healthz2", "/etc/passwd"}) {
    EXPECT_THAT(Get(http_->port(), path), StartsWith("HTTP/1.1 404 ")) << path;
  }
}

TEST_F(MetricsHttpTest, ATakenPortIsAnErrorThatNamesIt) {
  const std::string address = absl::StrCat("127.0.0.1:", http_->port());
  const absl::Status status = Start(address).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
}

TEST_F(MetricsHttpTest, AnAddressThatIsNoneIsRefused) {
  for (const char* address : {"", "9464", ":9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999",
                              "127.0.0.1:1,127.0.0.1:2", "127.0.0.1:0s"}) {
    EXPECT_EQ(Start(address).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

TEST_F(MetricsHttpTest, NobodyAnswersOnceItIsDestroyed) {
  const int port = http_->port();
  http_.reset();
  EXPECT_EQ(Get(port, "/healthz"), "");
}

}  // namespace
}  // namespace lazynorm
