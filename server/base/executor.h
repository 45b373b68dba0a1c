#ifndef LAZYNORM_SERVER_BASE_EXECUTOR_H_
#define LAZYNORM_SERVER_BASE_EXECUTOR_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "server/base/mutex.h"

namespace lazynorm {

// A fixed number of threads that run what they are given, oldest first. Thread-safe.
//
// Nothing that was given is lost: Stop runs all that is queued, and what running work queues
// meanwhile, before the threads end.
class Executor {
 public:
  // `threads` is at least 1. `nice`: how far they give way to other threads, 0 to 19, as nice(2);
  // above 0 they are also interrupted by any other thread that has something to do.
  explicit Executor(int threads, int nice = 0);
  // Stops.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs `work` on one of the threads; after Stop has returned, at once on the caller's.
  void Run(absl::AnyInvocable<void()> work);

  // Calls part(0) to part(parts - 1), each once, on this thread and on those of the executor that
  // come to it meanwhile; returns when all have returned. Waits for no thread to become free.
  void RunParts(int parts, const std::function<void(int)>& part);

  int threads() const { return count_; }

  // Returns when everything has run and the threads have ended. Not to be called by work.
  void Stop();

 private:
  void Loop();
  // Waits for work. False when there is none and none can come any more.
  bool Take(absl::AnyInvocable<void()>* work);

  const int count_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<absl::AnyInvocable<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // touched by the constructor and by Stop alone
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_BASE_EXECUTOR_H_
