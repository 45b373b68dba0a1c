#include "client/cli/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/client.h"

namespace lazynorm {
namespace {

// Marks what did not come from a server.
constexpr char kOwnUrl[] = "lazynorm/own";

absl::Status OwnError(absl::StatusCode code, absl::string_view message) {
  absl::Status status(code, message);
  status.SetPayload(kOwnUrl, absl::Cord(""));
  return status;
}

bool IsOwn(const absl::Status& status) {
  return status.GetPayload(kOwnUrl).has_value();
}

// Whether nobody answered; a server's own UNAVAILABLE carries a reason.
bool IsUnreachable(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable && !IsOwn(status) &&
         Client::ReasonOf(status).empty();
}

// Whether the time was over without an answer; a server's own DEADLINE_EXCEEDED carries a reason.
bool IsSilence(const absl::Status& status) {
  return status.code() == absl::StatusCode::kDeadlineExceeded && Client::ReasonOf(status).empty();
}

std::string ExplainTls(absl::string_view message, absl::string_view server) {
  if (absl::StrContains(message, "certificate verify failed")) {
    return absl::StrCat("no TLS with ", server, ": its certificate is not by an authority that ",
                        "--tls-ca names (without it: that this system trusts), or has ended");
  }
  if (absl::StrContains(message, "not in peer certificate")) {
    return absl::StrCat("no TLS with ", server, ": its certificate is for other names than this");
  }
  if (absl::StrContains(message, "wrong version number")) {
    return absl::StrCat("no TLS with ", server, ": it speaks plain text; leave out --tls, --tls-ca",
                        " and LAZYNORM_TLS_CA");
  }
  return absl::StrCat("no TLS with ", server, ": ", message, "; check --tls-ca");
}

std::string ExplainUnreachable(absl::string_view message, absl::string_view server) {
  if (absl::StrContains(message, "DNS") || absl::StrContains(message, "resol")) {
    return absl::StrCat("no such host: ", server, "; check --server or LAZYNORM_SERVER");
  }
  if (absl::StrContains(message, "handshake failed") ||
      absl::StrContains(message, "peer certificate")) {
    return ExplainTls(message, server);
  }
  if (absl::StrContains(message, "empty address list")) {  // gRPC could not even begin
    return absl::StrCat("no TLS with ", server, ": --tls-ca, --tls-cert or --tls-key has a file ",
                        "that cannot be used; expected PEM, and the key of that certificate");
  }
  if (absl::StrContains(message, "connect") && absl::StrContains(message, "Socket closed")) {
    return absl::StrCat(server, " hangs up at once; it may want TLS (--tls or --tls-ca), or a ",
                        "certificate (--tls-cert and --tls-key)");
  }
  if (absl::StrContains(message, "connect")) {
    return absl::StrCat("no server at ", server, "; start one with lazynormd");
  }
  return absl::StrCat("lost the connection to ", server, ": ", message);
}

}  // namespace

absl::Status InputError(absl::string_view message) {
  return OwnError(absl::StatusCode::kInvalidArgument, message);
}

absl::Status NotServing(absl::string_view message) {
  return OwnError(absl::StatusCode::kUnavailable, message);
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return IsSilence(status) ? kExitUnavailable : kExitRefused;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    default:
      return IsOwn(status) ? kExitUsage : kExitRefused;
  }
}

std::string Explain(const absl::Status& status, absl::string_view server,
                    absl::string_view timeout) {
  const std::string message = absl::StrReplaceAll(status.message(), {{"\n", " "}});
  if (IsOwn(status)) return message;
  if (IsUnreachable(status)) return ExplainUnreachable(message, server);
  if (IsSilence(status)) {
    return absl::StrCat("no answer from ", server, " within ", timeout,
                        "; --timeout gives it more");
  }
  const std::string reason = Client::ReasonOf(status);
  return absl::StrCat(message, " (", absl::StatusCodeToString(status.code()),
                      reason.empty() ? "" : ", ", reason, ")");
}

}  // namespace lazynorm
