#ifndef LAZYNORM_SERVER_RPC_TLS_H_
#define LAZYNORM_SERVER_RPC_TLS_H_

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lazynorm {

// What TLS needs, as PEM: the server's certificate with its chain, its private key, and, if callers
// are to have certificates too, the authorities that sign those ("" else).
struct TlsFiles {
  std::string cert, key, client_ca;

  friend bool operator==(const TlsFiles&, const TlsFiles&) = default;
};

// The end of the certificate that ends first among those of `files.cert`. INVALID_ARGUMENT, naming
// the flag, for what could not be served with: no PEM, a key that does not fit, no authority.
absl::StatusOr<absl::Time> CheckTlsFiles(const TlsFiles& files);

// For the way to another server of the same kind, out of the same files, which are looked at every
// second: it shows this server's certificate, and trusts the authorities of `client_ca` (empty:
// those that the system trusts) to name the host it is at.
std::shared_ptr<grpc::ChannelCredentials> PeerCredentials(const std::string& cert,
                                                          const std::string& key,
                                                          const std::string& client_ca);

// Credentials whose certificates may be replaced while they serve. Thread-safe.
class TlsCredentials {
 public:
  // `files` have been checked.
  explicit TlsCredentials(TlsFiles files);

  // For the connections that come from now on.
  void Set(TlsFiles files);
  // They keep what they need.
  std::shared_ptr<grpc::ServerCredentials> credentials() const;

 private:
  class Credentials;

  const std::shared_ptr<Credentials> credentials_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TLS_H_
