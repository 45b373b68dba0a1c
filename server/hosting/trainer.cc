#include "server/hosting/trainer.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

using SteadyClock = std::chrono::steady_clock;

absl::Status QueueFull(int max_queued) {
  return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "",
                   absl::StrCat("the model's queue is full: ", max_queued,
                                " steps wait already; try again shortly"));
}

}  // namespace

void Trainer::Submit(Submission submission) {
  Enqueue(std::move(submission));
}

void Trainer::Inspect(absl::AnyInvocable<void(const Learner&)> read,
                      absl::AnyInvocable<void(absl::Status)> done) {
  Enqueue(Inspection{std::move(read), std::move(done)});
}

void Trainer::Enqueue(Pending pending) {
  absl::Status refusal;
  bool start = false;
  {
    MutexLock lock(&mutex_);
    refusal = closed_;
    if (refusal.ok() && static_cast<int>(queue_.size()) >= max_queued_ &&
        std::holds_alternative<Submission>(pending)) {
      refusal = QueueFull(max_queued_);
    }
    if (refusal.ok()) {
      queue_.push_back(std::move(pending));
      start = !std::exchange(running_, true);
    }
  }
  if (!refusal.ok()) return Refuse(std::move(pending), refusal);  // NOLINT: not moved then
  if (auto listener = listener_.lock()) listener->OnQueue();
  if (start) executor_->Run([self = shared_from_this()] { self->Turn(); });
}

void Trainer::Refuse(Pending pending, const absl::Status& status) {
  if (auto* submission = std::get_if<Submission>(&pending)) {
    submission->done(status);
  } else {
    std::get<Inspection>(pending).done(status);
  }
}

bool Trainer::Take(Pending& pending) {
  MutexLock lock(&mutex_);
  if (queue_.empty()) return false;
  pending = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

absl::StatusOr<StepResult> Trainer::Apply(const Submission& submission, TurnListener* listener) {
  if (submission.chain != nullptr && submission.chain->broken) {
    return absl::CancelledError("a message before this one was refused");
  }
  const auto start = SteadyClock::now();
  absl::StatusOr<StepResult> result = learner_->Apply(submission.command);
  if (!result.ok()) {
    if (submission.chain != nullptr) submission.chain->broken = true;
  } else if (listener != nullptr && std::holds_alternative<TrainCommand>(submission.command) &&
             !result->replayed) {
    listener->OnStep(*result, learner_->diagnostics(),
                     absl::FromChrono(SteadyClock::now() - start));
  }
  return result;
}

absl::AnyInvocable<void()> Trainer::Do(Pending pending, TurnListener* listener) {
  if (auto* submission = std::get_if<Submission>(&pending)) {
    absl::StatusOr<StepResult> result = Apply(*submission, listener);
    return [done = std::move(submission->done), result = std::move(result)]() mutable {
      done(std::move(result));
    };
  }
  auto& inspection = std::get<Inspection>(pending);
  inspection.read(*learner_);
  return [done = std::move(inspection.done)]() mutable { done(absl::OkStatus()); };
}

// Nobody is answered before the turn's work is published: who has an answer sees it everywhere.
void Trainer::Turn() {
  const auto listener = listener_.lock();
  const auto end = SteadyClock::now() + absl::ToChronoNanoseconds(kTurn);
  std::vector<absl::AnyInvocable<void()>> answers;
  Pending pending;
  while (Take(pending)) {
    answers.push_back(Do(std::move(pending), listener.get()));
    if (SteadyClock::now() >= end) break;
  }
  if (listener != nullptr) listener->OnTurnEnd(*learner_);
  for (absl::AnyInvocable<void()>& answer : answers) answer();
  bool more = false;
  {
    MutexLock lock(&mutex_);
    more = running_ = !queue_.empty();
  }
  if (listener != nullptr) listener->OnQueue();
  if (more) executor_->Run([self = shared_from_this()] { self->Turn(); });
}

int Trainer::queued() const {
  MutexLock lock(&mutex_);
  return static_cast<int>(queue_.size());
}

void Trainer::Close(absl::Status status) {
  std::deque<Pending> waiting;
  {
    MutexLock lock(&mutex_);
    if (!closed_.ok()) return;
    closed_ = status;
    waiting.swap(queue_);
  }
  for (Pending& pending : waiting) Refuse(std::move(pending), status);
}

}  // namespace lazynorm
