#include "server/base/executor.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace lazynorm {

namespace {

// Work that several threads share. Whoever comes late finds no part left and touches nothing.
class Parts {
 public:
  Parts(int count, const std::function<void(int)>& part) : count_(count), part_(part) {}

  // Does part after part until there is none left to begin.
  void Work() {
    for (int i = next_++; i < count_; i = next_++) {
      part_(i);
      MutexLock lock(&mutex_);
      if (++done_ == count_) changed_.NotifyAll();
    }
  }

  void Wait() {
    MutexLock lock(&mutex_);
    while (done_ < count_) changed_.Wait(&mutex_);
  }

 private:
  const int count_;
  const std::function<void(int)>& part_;  // good until Wait has returned
  std::atomic<int> next_ = 0;
  Mutex mutex_;
  CondVar changed_;
  int done_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What sched_setattr(2) takes. The kernel's own header cannot be had beside <sched.h>.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;  // SCHED_OTHER
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t slice_ns = 0;  // from Linux 6.12 on; ignored before
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

// The share of a busy core that this thread gets is that of its nice value. When it gets it is
// decided by slices: a thread that wakes up interrupts one that has asked for a longer slice than
// its own, and waits for the end of the slice of any other. So this thread asks for the longest.
void GiveWay(int nice) {
  constexpr uint64_t kLongestSliceNs = 100'000'000;
  setpriority(PRIO_PROCESS, 0, nice);  // of this thread alone, on Linux
  const SchedulingAttributes attributes{.nice = nice, .slice_ns = kLongestSliceNs};
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace

Executor::Executor(int threads, int nice) : count_(std::max(threads, 1)) {
  for (int i = 0; i < count_; ++i) {
    threads_.emplace_back([this, nice] {
      if (nice > 0) GiveWay(nice);
      Loop();
    });
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

void Executor::RunParts(int parts, const std::function<void(int)>& part) {
  auto shared = std::make_shared<Parts>(parts, part);
  for (int i = 1; i < std::min(parts, count_); ++i) Run([shared] { shared->Work(); });
  shared->Work();
  shared->Wait();
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
