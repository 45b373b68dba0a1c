#ifndef LAZYNORM_SERVER_METRICS_HTTP_H_
#define LAZYNORM_SERVER_METRICS_HTTP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

class CivetServer;
class CivetHandler;

namespace lazynorm {

class Metrics;

struct HttpRequest {
  std::string method;  // "GET" or "POST"
  std::string path;    // decoded, without the query
  std::string body;
  std::string authorization;  // that header, "" if there is none
  std::string address;        // of the caller, without the port
};

struct HttpAnswer {
  int code = 200;
  std::string body;  // JSON
};

// An API beside the server's own paths, at /v2 and below.
struct HttpApi {
  // Called on the HTTP server's threads; may block, for as long as a caller may be kept.
  std::function<HttpAnswer(const HttpRequest&)> answer;
  int64_t max_body_bytes = 64 << 20;  // a larger one is 413
};

// The small HTTP server beside gRPC: /metrics for Prometheus, /healthz and /readyz for probes (200
// "ok", or 503 and a word), at / a page with live charts for people, and an API, whose calls never
// keep a probe waiting: too many at once are 503. Serves from Start until destroyed. Thread-safe.
class MetricsHttp {
 public:
  // Listens on `address`, "127.0.0.1:9464"; port 0 picks a free one. The callbacks are asked on the
  // HTTP server's threads. Without `page`, / is not found. `metrics` must outlive the result.
  // INVALID_ARGUMENT for an address that is none, UNAVAILABLE if the port is taken.
  static absl::StatusOr<std::unique_ptr<MetricsHttp>> Start(absl::string_view address,
                                                            const Metrics& metrics,
                                                            std::function<bool()> healthy,
                                                            std::function<bool()> ready, bool page,
                                                            HttpApi api = {});
  ~MetricsHttp();

  // The port that is listened on.
  int port() const { return port_; }

 private:
  MetricsHttp(std::unique_ptr<CivetHandler> handler, std::unique_ptr<CivetServer> server,
              absl::string_view host, int port);

  // The server goes first: its threads use the handler.
  const std::unique_ptr<CivetHandler> handler_;
  const std::unique_ptr<CivetServer> server_;
  const std::string host_;
  const int port_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_HTTP_H_
