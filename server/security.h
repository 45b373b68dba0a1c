#ifndef LAZYNORM_SERVER_SECURITY_H_
#define LAZYNORM_SERVER_SECURITY_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/periodic.h"
#include "server/metrics/metrics.h"
#include "server/options.h"
#include "server/rpc/guard.h"
#include "server/rpc/tls.h"

namespace lazynorm {

// What keeps strangers out: certificates and tokens as they stand in their files, looked at every
// second. One that cannot be used leaves what there was, and a line in the log. Thread-safe.
class Security {
 public:
  static constexpr absl::Duration kLook = absl::Seconds(1);

  // `metrics` must outlive the result. INVALID_ARGUMENT, naming the flag, for a file that cannot be
  // read or used.
  static absl::StatusOr<std::unique_ptr<Security>> Open(const Options& options, Metrics& metrics);

  // Null for plain text.
  std::shared_ptr<grpc::ServerCredentials> credentials() const;
  // For the way to other replicas; null for plain text.
  std::shared_ptr<grpc::ChannelCredentials> peer_credentials() const;
  Guard& guard() { return *guard_; }

 private:
  Security(const Options& options, Metrics& metrics) : options_(options), metrics_(metrics) {}

  // A kind of file: what has become of what it held last.
  struct Source {
    const char* name;            // what metrics call it
    absl::Status use = {};       // of what was read last
    std::string complaint = "";  // what was logged last; "": nothing is wrong
  };

  // Reads the files and uses them, if they are not as they were; else how that went.
  absl::Status UseTls();
  absl::Status UseTokens();
  absl::Status Use(TlsFiles files);
  absl::Status Use(const std::string& tokens);
  // Tells what is wrong: metrics always, the log once.
  void Tell(const absl::Status& status, Source& source);
  void Look();

  const Options options_;
  Metrics& metrics_;
  std::optional<TlsCredentials> tls_;
  std::optional<Guard> guard_;
  // What was read last, used or not. From Open on the looking thread's, as are the sources.
  TlsFiles tls_files_;
  std::string tokens_;
  Source tls_source_ = {.name = "tls"}, tokens_source_ = {.name = "tokens"};
  std::unique_ptr<Periodic> looking_;  // the last, so that it goes first
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_SECURITY_H_
