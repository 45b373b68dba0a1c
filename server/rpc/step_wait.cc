#include "server/rpc/step_wait.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

absl::Status StepNotReached(int64_t wanted, int64_t reached) {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "STEP_NOT_REACHED", "min_step",
                   absl::StrCat("expected the model to reach step ", wanted,
                                " within the deadline, it is at step ", reached));
}

}  // namespace

absl::Time GiveUpAt(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return deadline;
  const absl::Duration left = std::max(absl::ZeroDuration(), deadline - absl::Now());
  return deadline - std::min(left / 10, absl::Milliseconds(20));
}

std::shared_ptr<StepWait> StepWait::Start(Transport& transport, std::shared_ptr<HostedModel> model,
                                          int64_t step, absl::Time deadline, Done done) {
  std::shared_ptr<StepWait> wait(new StepWait(std::move(model), std::move(done)));
  const int64_t ticket =
      wait->model_->WhenStep(step, [wait](absl::Status status) { wait->End(std::move(status)); });
  const absl::Time give_up = GiveUpAt(deadline);
  if (ticket == 0 || give_up == absl::InfiniteFuture()) {
    MutexLock lock(&wait->mutex_);
    wait->ticket_ = ticket;
    return wait;
  }
  auto timer = transport.RunAt(
      give_up, [wait, step] { wait->End(StepNotReached(step, wait->model_->view()->step)); });
  MutexLock lock(&wait->mutex_);
  wait->ticket_ = ticket;
  if (wait->done_ != nullptr) {
    wait->timer_ = std::move(timer);
  } else {
    timer->Cancel();
  }
  return wait;
}

void StepWait::Cancel() {
  End(absl::CancelledError("the caller went away"));
}

void StepWait::End(absl::Status status) {
  Done done;
  std::shared_ptr<Timer> timer;
  int64_t ticket = 0;
  {
    MutexLock lock(&mutex_);
    done = std::exchange(done_, nullptr);
    timer = std::exchange(timer_, nullptr);
    ticket = std::exchange(ticket_, 0);
  }
  if (done == nullptr) return;
  if (timer != nullptr) timer->Cancel();
  if (ticket != 0) model_->StopWaiting(ticket);
  done(std::move(status));
}

void StreamWait::Keep(std::shared_ptr<StepWait> wait) {
  {
    MutexLock lock(&mutex_);
    wait_ = wait;
    if (!cancelled_) return;
  }
  wait->Cancel();
}

void StreamWait::Cancel() {
  std::shared_ptr<StepWait> wait;
  {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    wait = std::move(wait_);
  }
  if (wait != nullptr) wait->Cancel();
}

}  // namespace lazynorm
