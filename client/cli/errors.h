#ifndef LAZYNORM_CLIENT_CLI_ERRORS_H_
#define LAZYNORM_CLIENT_CLI_ERRORS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// What the command's exit code tells a script.
enum ExitCode : int {
  kExitOk = 0,
  kExitRefused = 1,      // the server refused, for any reason not named below
  kExitUsage = 2,        // wrong usage, or an input file that cannot be used
  kExitUnavailable = 3,  // no server there, or it is starting, draining or not serving
  kExitNotFound = 4,     // no such model, service or prediction id
};

// An error of the command's own: wrong usage or bad input. `message` says what to do.
absl::Status InputError(absl::string_view message);

// UNAVAILABLE with no more to say than `message`.
absl::Status NotServing(absl::string_view message);

// `status` must not be ok for a code other than kExitOk.
ExitCode ExitCodeOf(const absl::Status& status);

// One line for people, without "error: " and the line's end: the message, what to do if no server
// is at `server`, there is no TLS with it or it keeps silent for `timeout` (as it was given), and
// for what a server answered its code and reason.
std::string Explain(const absl::Status& status, absl::string_view server,
                    absl::string_view timeout);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_ERRORS_H_
