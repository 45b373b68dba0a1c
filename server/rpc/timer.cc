#include "server/rpc/timer.h"

#include <utility>

namespace lazynorm {

void Timer::Cancel() {
  cancelled_ = true;
  alarm_.Cancel();
}

void Timer::Complete(bool ok) {
  absl::AnyInvocable<void()> fn = std::exchange(fn_, nullptr);
  const bool run = ok && !cancelled_;
  timers_->Remove(this);  // may be the end of this
  if (run) fn();
}

std::shared_ptr<Timer> Timers::RunAt(grpc::CompletionQueue* queue, absl::Time when,
                                     absl::AnyInvocable<void()> fn) {
  auto timer = std::make_shared<Timer>(this, std::move(fn));
  MutexLock lock(&mutex_);
  if (closed_ || queue == nullptr) return timer;
  timers_.emplace(timer.get(), timer);
  timer->alarm_.Set(queue, absl::ToChronoTime(when), timer->Send());
  return timer;
}

void Timers::Close() {
  std::map<Timer*, std::shared_ptr<Timer>> timers;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    timers = timers_;
  }
  for (const auto& [key, timer] : timers) timer->Cancel();
}

void Timers::Remove(Timer* timer) {
  std::shared_ptr<Timer> removed;  // let go of outside the lock
  MutexLock lock(&mutex_);
  const auto found = timers_.find(timer);
  removed = std::move(found->second);
  timers_.erase(found);
}

}  // namespace lazynorm
