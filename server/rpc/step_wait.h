#ifndef LAZYNORM_SERVER_RPC_STEP_WAIT_H_
#define LAZYNORM_SERVER_RPC_STEP_WAIT_H_

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/hosting/hosted_model.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// A request that waits for a model to reach a step. Ends once: the step is reached (OK), the model
// is deleted (NOT_FOUND), the deadline is about to pass (DEADLINE_EXCEEDED, STEP_NOT_REACHED: a
// little early, so that the caller hears the reason), or it is cancelled (CANCELLED). Thread-safe.
class StepWait : public std::enable_shared_from_this<StepWait> {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  // `done` may run before this returns.
  static std::shared_ptr<StepWait> Start(Transport& transport, std::shared_ptr<HostedModel> model,
                                         int64_t step, absl::Time deadline, Done done);
  void Cancel();

 private:
  StepWait(std::shared_ptr<HostedModel> model, Done done)
      : model_(std::move(model)), done_(std::move(done)) {}

  void End(absl::Status status);

  const std::shared_ptr<HostedModel> model_;
  Mutex mutex_;
  Done done_ ABSL_GUARDED_BY(mutex_);  // null once it has ended
  int64_t ticket_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<Timer> timer_ ABSL_GUARDED_BY(mutex_);
};

// When to give up waiting for a caller who does so at `deadline`: a tenth of what is left, at most
// 20 ms, before, so that it hears the reason.
absl::Time GiveUpAt(absl::Time deadline);

// The latest wait of a stream, which goes with its caller. Thread-safe.
class StreamWait {
 public:
  // Takes the place of the wait before, which has ended.
  void Keep(std::shared_ptr<StepWait> wait);
  // Cancels the one that is kept, and all that are to come.
  void Cancel();

 private:
  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<StepWait> wait_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_STEP_WAIT_H_
