#include "server/rpc/tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/base/published.h"

namespace lazynorm {
namespace {

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

Bio Reading(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

absl::StatusOr<std::vector<X509Ptr>> ReadCertificates(absl::string_view flag,
                                                      const std::string& pem) {
  std::vector<X509Ptr> certificates;
  const Bio bio = Reading(pem);
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const bool at_the_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!certificates.empty() && at_the_end) return certificates;
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": expected certificates in PEM"));
}

absl::Time EndOf(const X509& certificate) {
  tm end = {};
  ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &end);
  return absl::FromTM(end, absl::UTCTimeZone());
}

grpc_ssl_server_certificate_config* ToConfig(const TlsFiles& files) {
  const grpc_ssl_pem_key_cert_pair pair = {files.key.c_str(), files.cert.c_str()};
  // gRPC 1.51 insists on authorities, also where it asks callers for no certificate.
  const std::string& authorities = files.client_ca.empty() ? files.cert : files.client_ca;
  return grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
}

}  // namespace

absl::StatusOr<absl::Time> CheckTlsFiles(const TlsFiles& files) {
  ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, ReadCertificates("tls_cert", files.cert));
  const Bio bio = Reading(files.key);
  // Nobody is there to be asked for a password.
  const auto no_password = [](char*, int, int, void*) { return 0; };
  const KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  const bool fits = key != nullptr && X509_check_private_key(chain[0].get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError("--tls_key: expected a private key in PEM, not encrypted");
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        "--tls_key: expected the key of the first certificate of "
        "--tls_cert, got another");
  }
  if (!files.client_ca.empty()) {
    RETURN_IF_ERROR(ReadCertificates("tls_client_ca", files.client_ca).status());
  }
  absl::Time end = absl::InfiniteFuture();
  for (const X509Ptr& certificate : chain) end = std::min(end, EndOf(*certificate));
  return end;
}

std::shared_ptr<grpc::ChannelCredentials> PeerCredentials(const std::string& cert,
                                                          const std::string& key,
                                                          const std::string& client_ca) {
  constexpr unsigned int kLookSeconds = 1;
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(key, cert, client_ca,
                                                                           kLookSeconds));
  options.watch_identity_key_cert_pairs();
  if (!client_ca.empty()) options.watch_root_certs();
  return grpc::experimental::TlsCredentials(options);
}

// gRPC's C++ has credentials that read files, but those take what they read as it is: a broken file
// would end all new connections. Its C library asks at each handshake whether there is something
// new, and keeps the old where it cannot use that.
class TlsCredentials::Credentials : public grpc::ServerCredentials {
 public:
  explicit Credentials(TlsFiles files)
      : mutual_(!files.client_ca.empty()),
        files_(std::make_shared<const TlsFiles>(std::move(files))) {}

  void Set(TlsFiles files) { files_.Set(std::make_shared<const TlsFiles>(std::move(files))); }

  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  // Each port has its own, as each has to hear of what is new.
  struct Port {
    const Published<TlsFiles>& files;
    std::shared_ptr<const TlsFiles> fetched;  // gRPC fetches one at a time

    static grpc_ssl_certificate_config_reload_status Fetch(
        void* port, grpc_ssl_server_certificate_config** config) {
      auto& [files, fetched] = *static_cast<Port*>(port);
      std::shared_ptr<const TlsFiles> now = files.Get();
      if (now == fetched) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
      *config = ToConfig(*now);
      fetched = std::move(now);
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
    }
  };

  int AddPortToServer(const std::string& address, grpc_server* server) override {
    ports_.push_back(std::make_unique<Port>(Port{files_, nullptr}));
    grpc_server_credentials* const credentials = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            mutual_ ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &Port::Fetch, ports_.back().get()));
    const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);  // the server holds them
    return port;
  }

  const bool mutual_;
  Published<TlsFiles> files_;
  std::vector<std::unique_ptr<Port>> ports_;  // before the server starts, and then only kept
};

TlsCredentials::TlsCredentials(TlsFiles files)
    : credentials_(std::make_shared<Credentials>(std::move(files))) {}

void TlsCredentials::Set(TlsFiles files) {
  credentials_->Set(std::move(files));
}

std::shared_ptr<grpc::ServerCredentials> TlsCredentials::credentials() const {
  return credentials_;
}

}  // namespace lazynorm
