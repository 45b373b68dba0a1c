#include "server/metrics/http.h"

#include <CivetServer.h>

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

void Respond(mg_connection* connection, const char* status, const char* type,
             const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
            status, type, body.size());
  mg_write(connection, body.data(), body.size());
}

// Answers the known paths; everything else is 404.
class Handler : public CivetHandler {
 public:
  Handler(const Metrics& metrics, std::function<bool()> healthy, std::function<bool()> ready,
          bool page)
      : metrics_(metrics), healthy_(std::move(healthy)), ready_(std::move(ready)), page_(page) {}

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
    } else {
      Respond(connection, "404 Not Found", kPlain, "not found\n");
    }
    return true;
  }

 private:
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
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsHttp>> MetricsHttp::Start(absl::string_view address,
                                                                const Metrics& metrics,
                                                                std::function<bool()> healthy,
                                                                std::function<bool()> ready,
                                                                bool page) {
  // Civetweb would take more than addresses here: lists, TLS marks, bare ports.
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 || absl::StrContains(address, ',') ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address: expected HOST:PORT, got \"", address, "\""));
  }
  auto handler = std::make_unique<Handler>(metrics, std::move(healthy), std::move(ready), page);
  const std::vector<std::string> options = {
      "listening_ports", std::string(address), "num_threads", "2", "request_timeout_ms", "10000"};
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
