#include "server/base/periodic.h"

#include <utility>

#include "absl/time/clock.h"

namespace lazynorm {

Periodic::Periodic(absl::Duration interval, std::function<void()> fn)
    : interval_(interval), fn_(std::move(fn)), thread_([this] {
        while (Wait()) fn_();
      }) {}

Periodic::~Periodic() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

bool Periodic::Wait() {
  const absl::Time until = absl::Now() + interval_;
  MutexLock lock(&mutex_);
  while (!stopping_ && changed_.WaitUntil(&mutex_, until)) {
  }
  return !stopping_;
}

}  // namespace lazynorm
