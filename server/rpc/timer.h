#ifndef LAZYNORM_SERVER_RPC_TIMER_H_
#define LAZYNORM_SERVER_RPC_TIMER_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/rpc/tag.h"

namespace lazynorm {

class Timers;

// Something to be done later, once. Made by Transport::RunAt. Need not be kept. Thread-safe.
class Timer final : public Tag {
 public:
  Timer(Timers* timers, absl::AnyInvocable<void()> fn) : timers_(timers), fn_(std::move(fn)) {}

  // The function will not run, unless it already does or has.
  void Cancel();

 private:
  friend class Timers;
  void Complete(bool ok) override;

  Timers* const timers_;
  absl::AnyInvocable<void()> fn_;  // the polling thread's
  grpc::Alarm alarm_;
  std::atomic<bool> cancelled_ = false;
};

// The timers that have not come to their end. Thread-safe.
class Timers {
 public:
  // A null `queue` and a closed Timers drop `fn`.
  std::shared_ptr<Timer> RunAt(grpc::CompletionQueue* queue, absl::Time when,
                               absl::AnyInvocable<void()> fn);
  // Cancels all there are and takes no more; the queue may be shut down then.
  void Close();

 private:
  friend class Timer;
  void Remove(Timer* timer);

  Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<Timer*, std::shared_ptr<Timer>> timers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TIMER_H_
