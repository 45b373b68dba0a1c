#ifndef LAZYNORM_SERVER_BASE_CLOCK_H_
#define LAZYNORM_SERVER_BASE_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace lazynorm {

// Where the time of day comes from, so that tests can set it. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

// The machine's clock.
class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_BASE_CLOCK_H_
