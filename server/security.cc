#include "server/security.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/status_macros.h"
#include "server/base/log_text.h"
#include "server/rpc/tokens.h"

namespace lazynorm {
namespace {

constexpr std::streamsize kMostBytes = 1 << 20;

// What stands in a file; "" for no path.
absl::StatusOr<std::string> Read(absl::string_view flag, const std::string& path) {
  std::string text;
  if (path.empty()) return text;
  std::ifstream file(path, std::ios::binary);
  text.resize(kMostBytes + 1);
  file.read(text.data(), kMostBytes + 1);
  text.resize(file.gcount());
  if (file.eof() && !text.empty()) return text;
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, ": cannot read ", path, file.is_open() ? ": expected 1 byte to 1 MiB" : ""));
}

CallerLimitOptions CallerLimitsOf(const Options& options) {
  return {.calls_per_second = options.max_calls_per_second,
          .calls_in_flight = options.max_calls_in_flight};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Security>> Security::Open(const Options& options, Metrics& metrics) {
  std::unique_ptr<Security> security(new Security(options, metrics));
  if (!options.tls_cert.empty()) RETURN_IF_ERROR(security->UseTls());
  if (!options.auth_tokens_file.empty()) RETURN_IF_ERROR(security->UseTokens());
  if (!security->guard_.has_value()) {
    security->guard_.emplace(nullptr, CallerLimitsOf(options));
  }
  if (!options.tls_cert.empty() || !options.auth_tokens_file.empty()) {
    security->Look();  // metrics tell from the beginning that all is well
    security->looking_ = std::make_unique<Periodic>(kLook, [raw = security.get()] { raw->Look(); });
  }
  return security;
}

std::shared_ptr<grpc::ServerCredentials> Security::credentials() const {
  return tls_.has_value() ? tls_->credentials() : nullptr;
}

std::shared_ptr<grpc::ChannelCredentials> Security::peer_credentials() const {
  if (!tls_.has_value()) return nullptr;
  return PeerCredentials(options_.tls_cert, options_.tls_key, options_.tls_client_ca);
}

absl::Status Security::UseTls() {
  TlsFiles files;
  ASSIGN_OR_RETURN(files.cert, Read("tls_cert", options_.tls_cert));
  ASSIGN_OR_RETURN(files.key, Read("tls_key", options_.tls_key));
  ASSIGN_OR_RETURN(files.client_ca, Read("tls_client_ca", options_.tls_client_ca));
  if (files != tls_files_) {
    tls_files_ = files;
    tls_source_.use = Use(std::move(files));
  }
  return tls_source_.use;
}

absl::Status Security::Use(TlsFiles files) {
  ASSIGN_OR_RETURN(const absl::Time end, CheckTlsFiles(files));
  const std::string ends = absl::FormatTime(absl::RFC3339_sec, end, absl::UTCTimeZone());
  const bool over = end <= absl::Now();
  if (over && tls_.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("--tls_cert: it ended on ", ends));
  }
  // At the start there is nothing better, and callers who do not look are served.
  if (over) spdlog::error("event=certificate_expired ended={}", ends);
  metrics_.SetCertificateExpiry(end);
  if (tls_.has_value()) {
    tls_->Set(std::move(files));
  } else {
    tls_.emplace(std::move(files));
  }
  spdlog::info("event=certificate_loaded ends={}", ends);
  return absl::OkStatus();
}

absl::Status Security::UseTokens() {
  ASSIGN_OR_RETURN(std::string text, Read("auth_tokens_file", options_.auth_tokens_file));
  if (text != tokens_) {
    tokens_ = std::move(text);
    tokens_source_.use = Use(tokens_);
  }
  return tokens_source_.use;
}

absl::Status Security::Use(const std::string& text) {
  absl::StatusOr<std::shared_ptr<const Tokens>> tokens = Tokens::Parse(text);
  if (!tokens.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--auth_tokens_file: ", tokens.status().message()));
  }
  spdlog::info("event=tokens_loaded tokens={}", (*tokens)->size());
  if (guard_.has_value()) {
    guard_->SetTokens(*std::move(tokens));
  } else {
    guard_.emplace(*std::move(tokens), CallerLimitsOf(options_));
  }
  return absl::OkStatus();
}

void Security::Tell(const absl::Status& status, Source& source) {
  metrics_.SetReloadFailed(source.name, !status.ok());
  const std::string now(status.message());
  if (!status.ok() && now != source.complaint) {
    spdlog::error("event=reload_failed message={}", LogText(now));
  }
  source.complaint = now;
}

void Security::Look() {
  if (tls_.has_value()) Tell(UseTls(), tls_source_);
  if (!options_.auth_tokens_file.empty()) Tell(UseTokens(), tokens_source_);
}

}  // namespace lazynorm
