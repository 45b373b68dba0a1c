#ifndef LAZYNORM_SERVER_RPC_CALLER_LIMITS_H_
#define LAZYNORM_SERVER_RPC_CALLER_LIMITS_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"

namespace lazynorm {

// What one caller may do at most; 0 is as much as it likes.
struct CallerLimitOptions {
  int calls_per_second = 0;
  int calls_in_flight = 0;
};

// What one caller does: calls at once, and an allowance that fills by so many calls a second, up to
// one second's worth. Thread-safe.
class CallerAccount {
 public:
  explicit CallerAccount(CallerLimitOptions limits);

  // A call begins. RESOURCE_EXHAUSTED, reason RATE_LIMITED, and when to come back; else Leave must
  // follow.
  absl::Status Enter(absl::Time now);
  void Leave();
  // A further message of a stream has come: how long to wait before the next is read.
  absl::Duration Spend(absl::Time now);
  // Nothing would be lost with this account.
  bool IsIdle(absl::Time now);

 private:
  void Fill(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration UntilOneIsAllowed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CallerLimitOptions limits_;
  Mutex mutex_;
  double allowance_ ABSL_GUARDED_BY(mutex_);
  absl::Time filled_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The accounts of all callers, of a bounded number: where so many are busy at once, all others
// share one account. Thread-safe.
class CallerLimits {
 public:
  static constexpr int kMostCallers = 10'000;

  explicit CallerLimits(CallerLimitOptions limits, int most_callers = kMostCallers);

  bool enabled() const { return limits_.calls_per_second > 0 || limits_.calls_in_flight > 0; }
  std::shared_ptr<CallerAccount> AccountOf(const std::string& caller, absl::Time now);

 private:
  const CallerLimitOptions limits_;
  const size_t most_callers_;
  const std::shared_ptr<CallerAccount> others_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<CallerAccount>> accounts_
      ABSL_GUARDED_BY(mutex_);
  absl::Time swept_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_CALLER_LIMITS_H_
