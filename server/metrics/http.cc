#include "server/metrics/http.h"

#include <CivetServer.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/metrics/metrics.h"
#include "server/metrics/page/page.h"

namespace lazynorm {
namespace {

constexpr char kPlain[] = "text/plain; charset=utf-8";
constexpr char kHtml[] =
    "text/html; charset=utf-8\r\n"
    "Cache-Control: no-cache\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";

constexpr char kJson[] = "application/json";
constexpr char kJsonUnauthenticated[] = "application/json\r\nWWW-Authenticate: Bearer";

// Of all threads, some are kept for metrics and probes.
constexpr int kThreads = 8;
constexpr int kMostApiCalls = kThreads - 2;

bool IsHead(const mg_connection* connection) {
  return mg_get_request_info(connection)->request_method == absl::string_view("HEAD");
}

void Respond(mg_connection* connection, const char* status, const char* type,
             const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
            status, type, body.size());
  if (IsHead(connection)) return;
  mg_write(connection, body.data(), body.size());
}

void RespondError(mg_connection* connection, const char* status, const char* message) {
  Respond(connection, status, kJson, absl::StrCat("{\"error\":\"", message, "\"}"));
}

// Counts what is in work, for the length of a scope.
class Occupied {
 public:
  explicit Occupied(std::atomic<int>& count) : count_(count), now_(++count) {}
  ~Occupied() { --count_; }
  Occupied(const Occupied&) = delete;
  Occupied& operator=(const Occupied&) = delete;
  int now() const { return now_; }

 private:
  std::atomic<int>& count_;
  const int now_;
};

// The body, up to one byte more than `most`.
std::string ReadBody(mg_connection* connection, int64_t most) {
  std::string body;
  const int64_t length = mg_get_request_info(connection)->content_length;
  if (length > 0) body.reserve(length);
  constexpr int64_t kPiece = 64 << 10;
  while (static_cast<int64_t>(body.size()) <= most) {
    const size_t size = body.size();
    const int64_t room = std::min(kPiece, most + 1 - static_cast<int64_t>(size));
    body.resize(size + room);
    const int read = mg_read(connection, body.data() + size, room);
    body.resize(size + std::max(read, 0));
    if (read <= 0) break;
  }
  return body;
}

// Answers the known paths and those of the API, a HEAD as a GET without the body; everything else
// is 404.
class Handler : public CivetHandler {
 public:
  Handler(const Metrics& metrics, std::function<bool()> healthy, std::function<bool()> ready,
          bool page, HttpApi api)
      : metrics_(metrics),
        healthy_(std::move(healthy)),
        ready_(std::move(ready)),
        page_(page),
        api_(std::move(api)) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    const absl::string_view path = mg_get_request_info(connection)->local_uri;
    if (path == "/metrics") {
      Respond(connection, "200 OK", kPrometheusText, metrics_.Expose());
    } else if (path == "/healthz") {
      RespondProbe(connection, healthy_(), "unhealthy\n");
    } else if (path == "/readyz") {
      RespondProbe(connection, ready_(), "not ready\n");
    } else if (path == "/" && page_) {
      Respond(connection, "200 OK", kHtml, kPage);
    } else if (OfApi(path)) {
      CallApi(connection);
    } else {
      Respond(connection, "404 Not Found", kPlain, "not found\n");
    }
    return true;
  }

  bool handleHead(CivetServer* server, mg_connection* connection) override {
    return handleGet(server, connection);
  }

  bool handlePost(CivetServer*, mg_connection* connection) override {
    if (!OfApi(mg_get_request_info(connection)->local_uri)) return false;
    CallApi(connection);
    return true;
  }

 private:
  bool OfApi(absl::string_view path) const {
    return api_.answer != nullptr && (path == "/v2" || absl::StartsWith(path, "/v2/"));
  }

  void CallApi(mg_connection* connection) {
    const mg_request_info* info = mg_get_request_info(connection);
    const Occupied occupied(api_calls_);
    if (occupied.now() > kMostApiCalls) {
      return RespondError(connection, "503 Service Unavailable", "too many calls at once");
    }
    if (info->content_length > api_.max_body_bytes) return RespondTooLarge(connection);
    const char* expect = mg_get_header(connection, "Expect");
    if (expect != nullptr && absl::EqualsIgnoreCase(expect, "100-continue")) {
      mg_printf(connection, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    const char* authorization = mg_get_header(connection, "Authorization");
    HttpRequest request{.method = IsHead(connection) ? "GET" : info->request_method,
                        .path = info->local_uri,
                        .body = {},
                        .authorization = authorization == nullptr ? "" : authorization,
                        .address = info->remote_addr};
    if (request.method == "POST") request.body = ReadBody(connection, api_.max_body_bytes);
    if (static_cast<int64_t>(request.body.size()) > api_.max_body_bytes) {
      return RespondTooLarge(connection);
    }
    const HttpAnswer answer = api_.answer(request);
    const std::string status =
        absl::StrCat(answer.code, " ", mg_get_response_code_text(connection, answer.code));
    Respond(connection, status.c_str(), answer.code == 401 ? kJsonUnauthenticated : kJson,
            answer.body);
  }

  void RespondTooLarge(mg_connection* connection) const {
    const std::string message =
        absl::StrCat("expected a body of at most ", api_.max_body_bytes, " bytes");
    RespondError(connection, "413 Payload Too Large", message.c_str());
  }

  static void RespondProbe(mg_connection* connection, bool good, const char* otherwise) {
    if (good) {
      Respond(connection, "200 OK", kPlain, "ok\n");
    } else {
      Respond(connection, "503 Service Unavailable", kPlain, otherwise);
    }
  }

  const Metrics& metrics_;
  const std::function<bool()> healthy_;
  const std::function<bool()> ready_;
  const bool page_;
  const HttpApi api_;
  std::atomic<int> api_calls_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsHttp>> MetricsHttp::Start(absl::string_view address,
                                                                const Metrics& metrics,
                                                                std::function<bool()> healthy,
                                                                std::function<bool()> ready,
                                                                bool page, HttpApi api) {
  // Civetweb would take more than addresses here: lists, TLS marks, bare ports.
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 || absl::StrContains(address, ',') ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address: expected HOST:PORT, got \"", address, "\""));
  }
  auto handler = std::make_unique<Handler>(metrics, std::move(healthy), std::move(ready), page,
                                           std::move(api));
  const std::vector<std::string> options = {"listening_ports",    std::string(address),
                                            "num_threads",        absl::StrCat(kThreads),
                                            "request_timeout_ms", "10000"};
  try {
    auto server = std::make_unique<CivetServer>(options);
    server->addHandler("", handler.get());
    const int bound = server->getListeningPorts().at(0);
    return std::unique_ptr<MetricsHttp>(
        new MetricsHttp(std::move(handler), std::move(server), address.substr(0, colon), bound));
  } catch (const CivetException&) {
    return absl::UnavailableError(
        absl::StrCat("metrics address: cannot listen on ", address, ": is the port taken?"));
  }
}

MetricsHttp::MetricsHttp(std::unique_ptr<CivetHandler> handler, std::unique_ptr<CivetServer> server,
                         absl::string_view host, int port)
    : handler_(std::move(handler)), server_(std::move(server)), host_(host), port_(port) {}

MetricsHttp::~MetricsHttp() {
  // Civetweb looks whether it is to stop when a connection comes, else every two seconds: knock.
  std::atomic<bool> stopped = false;
  std::thread stopper([&] {
    server_->close();
    stopped = true;
  });
  while (!stopped) {
    char error[128];
    mg_connection* knock = mg_connect_client(host_.c_str(), port_, 0, error, sizeof(error));
    if (knock != nullptr) mg_close_connection(knock);
    absl::SleepFor(absl::Milliseconds(1));
  }
  stopper.join();
}

}  // namespace lazynorm
