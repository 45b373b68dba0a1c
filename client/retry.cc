#include "client/retry.h"

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/status.h"

namespace lazynorm {
namespace {

std::mt19937_64& ThreadRandom() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return random;
}

}  // namespace

Backoff::Backoff(const ClientOptions& options, absl::Time deadline)
    : enabled_(options.retry),
      longest_(options.longest_backoff),
      deadline_(deadline),
      pause_(options.first_backoff) {}

bool Backoff::WaitAfter(const absl::Status& status) {
  if (!enabled_ || !IsRetryable(status)) return false;
  // Many clients that lost one server should not come back in one instant.
  absl::Duration wait = pause_ * std::uniform_real_distribution<>(0.8, 1.2)(ThreadRandom());
  wait = std::max(wait, RetryDelayOf(status).value_or(absl::ZeroDuration()));
  if (absl::Now() + wait >= deadline_) return false;
  absl::SleepFor(wait);
  pause_ = std::min(pause_ * 2, longest_);
  return true;
}

std::string NewRequestId() {
  std::mt19937_64& random = ThreadRandom();
  const uint64_t high = random(), low = random();
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", high >> 32, (high >> 16) & 0xffff,
                         high & 0xfff, 0x8000 | ((low >> 48) & 0x3fff), low & 0xffffffffffff);
}

}  // namespace lazynorm
