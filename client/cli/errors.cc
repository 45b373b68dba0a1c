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
      // Without a reason it is the silence of the server, not its answer.
      return Client::ReasonOf(status).empty() ? kExitUnavailable : kExitRefused;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    default:
      return IsOwn(status) ? kExitUsage : kExitRefused;
  }
}

std::string Explain(const absl::Status& status, absl::string_view server) {
  const std::string message = absl::StrReplaceAll(status.message(), {{"\n", " "}});
  if (IsOwn(status)) return message;
  if (IsUnreachable(status)) {
    if (absl::StrContains(message, "DNS") || absl::StrContains(message, "resol")) {
      return absl::StrCat("no such host: ", server, "; check --server or LAZYNORM_SERVER");
    }
    if (absl::StrContains(message, "handshake failed")) {
      return absl::StrCat("no TLS with ", server, ": ", message, "; check --tls-ca");
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
  const std::string reason = Client::ReasonOf(status);
  return absl::StrCat(message, " (", absl::StatusCodeToString(status.code()),
                      reason.empty() ? "" : ", ", reason, ")");
}

}  // namespace lazynorm
