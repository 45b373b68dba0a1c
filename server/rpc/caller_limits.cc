#include "server/rpc/caller_limits.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "server/rpc/status.h"

namespace lazynorm {
namespace {

// Going through all accounts is not done more often, whoever asks.
constexpr absl::Duration kSweepInterval = absl::Seconds(1);

absl::Status RateLimited(absl::string_view message) {
  return MakeError(absl::StatusCode::kResourceExhausted, "RATE_LIMITED", "", message);
}

}  // namespace

CallerAccount::CallerAccount(CallerLimitOptions limits)
    : limits_(limits), allowance_(limits.calls_per_second) {}

void CallerAccount::Fill(absl::Time now) {
  const double most = limits_.calls_per_second;
  if (filled_ != absl::InfinitePast() && now > filled_) {
    allowance_ = std::min(most, allowance_ + absl::ToDoubleSeconds(now - filled_) * most);
  }
  filled_ = std::max(filled_, now);
}

absl::Duration CallerAccount::UntilOneIsAllowed() const {
  return absl::Seconds((1 - allowance_) / limits_.calls_per_second);
}

absl::Status CallerAccount::Enter(absl::Time now) {
  MutexLock lock(&mutex_);
  if (limits_.calls_in_flight > 0 && in_flight_ >= limits_.calls_in_flight) {
    return RateLimited(
        absl::StrCat("expected at most ", limits_.calls_in_flight, " calls of one caller at once"));
  }
  if (limits_.calls_per_second > 0) {
    Fill(now);
    if (allowance_ < 1) {
      return WithRetryAfter(RateLimited(absl::StrCat("expected at most ", limits_.calls_per_second,
                                                     " calls of one caller a second")),
                            absl::Ceil(UntilOneIsAllowed(), absl::Milliseconds(1)));
    }
    allowance_ -= 1;
  }
  ++in_flight_;
  return absl::OkStatus();
}

void CallerAccount::Leave() {
  MutexLock lock(&mutex_);
  --in_flight_;
}

absl::Duration CallerAccount::Spend(absl::Time now) {
  if (limits_.calls_per_second == 0) return absl::ZeroDuration();
  MutexLock lock(&mutex_);
  Fill(now);
  allowance_ -= 1;
  return std::max(absl::ZeroDuration(), UntilOneIsAllowed());
}

bool CallerAccount::IsIdle(absl::Time now) {
  MutexLock lock(&mutex_);
  if (in_flight_ > 0) return false;
  Fill(now);
  return allowance_ >= limits_.calls_per_second;
}

CallerLimits::CallerLimits(CallerLimitOptions limits, int most_callers)
    : limits_(limits),
      most_callers_(most_callers),
      others_(std::make_shared<CallerAccount>(limits)) {}

std::shared_ptr<CallerAccount> CallerLimits::AccountOf(const std::string& caller, absl::Time now) {
  MutexLock lock(&mutex_);
  const auto found = accounts_.find(caller);
  if (found != accounts_.end()) return found->second;
  if (accounts_.size() >= most_callers_ && now >= swept_ + kSweepInterval) {
    swept_ = now;
    absl::erase_if(accounts_, [&](const auto& account) {
      return account.second.use_count() == 1 && account.second->IsIdle(now);
    });
  }
  if (accounts_.size() >= most_callers_) return others_;
  return accounts_[caller] = std::make_shared<CallerAccount>(limits_);
}

}  // namespace lazynorm
