#ifndef LAZYNORM_CLIENT_RETRY_H_
#define LAZYNORM_CLIENT_RETRY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/client.h"

namespace lazynorm {

// The pauses between the tries of one call. Thread-compatible.
class Backoff {
 public:
  // `deadline` ends the last try.
  Backoff(const ClientOptions& options, absl::Time deadline);

  // After a try that ended with `status`: waits for the next try and returns true, or returns false
  // at once if there is to be none.
  bool WaitAfter(const absl::Status& status);

 private:
  const bool enabled_;
  const absl::Duration longest_;
  const absl::Time deadline_;
  absl::Duration pause_;
};

// A new random request_id, a UUID (version 4) in its usual form. Thread-safe.
std::string NewRequestId();

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_RETRY_H_
