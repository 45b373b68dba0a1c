#include "client/security.h"

#include <arpa/inet.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lazynorm {
namespace {

// "" for no path.
absl::StatusOr<std::string> Read(absl::string_view option, const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!text.empty()) return text;
  return absl::InvalidArgumentError(absl::StrCat(option, ": cannot read ", path));
}

bool IsThisMachine(absl::string_view target) {
  for (const char* beginning : {"unix:", "unix-abstract:"}) {
    if (absl::StartsWith(target, beginning)) return true;
  }
  const std::string host(target.substr(0, target.rfind(':')));
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]";
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(
    const ClientOptions& options) {
  const bool files =
      !options.tls_ca.empty() || !options.tls_cert.empty() || !options.tls_key.empty();
  if (!options.tls && !files) {
    if (options.token.empty() || IsThisMachine(options.target)) {
      return grpc::InsecureChannelCredentials();
    }
    return absl::InvalidArgumentError(absl::StrCat("token: expected TLS with it, as ",
                                                   options.target, " may be another machine"));
  }
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError("tls_cert and tls_key: expected both or neither");
  }
  const absl::StatusOr<std::string> ca = Read("tls_ca", options.tls_ca);
  const absl::StatusOr<std::string> key = Read("tls_key", options.tls_key);
  const absl::StatusOr<std::string> cert = Read("tls_cert", options.tls_cert);
  for (const absl::Status& status : {ca.status(), key.status(), cert.status()}) {
    if (!status.ok()) return status;
  }
  return grpc::SslCredentials(
      {.pem_root_certs = *ca, .pem_private_key = *key, .pem_cert_chain = *cert});
}

void Authorize(const ClientOptions& options, grpc::ClientContext* context) {
  if (!options.token.empty()) {
    context->AddMetadata("authorization", absl::StrCat("Bearer ", options.token));
  }
}

}  // namespace lazynorm
