#include "server/base/executor.h"

#include <algorithm>
#include <utility>

namespace lazynorm {

Executor::Executor(int threads) {
  for (int i = 0; i < std::max(threads, 1); ++i) {
    threads_.emplace_back([this] { Loop(); });
  }
}

Executor::~Executor() {
  Stop();
}

void Executor::Run(absl::AnyInvocable<void()> work) {
  {
    MutexLock lock(&mutex_);
    if (!stopped_) {
      queue_.push_back(std::move(work));
      changed_.NotifyOne();
      return;
    }
  }
  work();
}

void Executor::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::deque<absl::AnyInvocable<void()>> late;  // given between the last look and the join
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    late.swap(queue_);
  }
  for (absl::AnyInvocable<void()>& work : late) work();
}

void Executor::Loop() {
  absl::AnyInvocable<void()> work;
  while (Take(&work)) {
    work();
    work = nullptr;  // what it holds goes before the thread counts as idle
    MutexLock lock(&mutex_);
    if (--running_ == 0 && stopping_) changed_.NotifyAll();
  }
}

bool Executor::Take(absl::AnyInvocable<void()>* work) {
  MutexLock lock(&mutex_);
  while (queue_.empty()) {
    if (stopping_ && running_ == 0) return false;
    changed_.Wait(&mutex_);
  }
  *work = std::move(queue_.front());
  queue_.pop_front();
  ++running_;
  return true;
}

}  // namespace lazynorm
