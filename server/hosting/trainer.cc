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
  int depth = 0;
  {
    MutexLock lock(&mutex_);
    refusal = closed_;
    if (refusal.ok() && static_cast<int>(queue_.size()) >= max_queued_ &&
        std::holds_alternative<Submission>(pending)) {
      refusal = QueueFull(max_queued_);
    }
    if (refusal.ok()) {
      queue_.push_back(std::move(pending));
      depth = static_cast<int>(queue_.size());
      start = !std::exchange(running_, true);
    }
  }
  if (!refusal.ok()) return Refuse(std::move(pending), refusal);
  if (auto listener = listener_.lock()) listener->OnQueue(depth);
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

// Nobody is answered before the turn's work is published: who has an answer sees it everywhere.
void Trainer::Turn() {
  const auto listener = listener_.lock();
  const auto end = SteadyClock::now() + absl::ToChronoNanoseconds(kTurn);
  std::vector<Answer> answers;
  Pending pending;
  while (Take(pending)) {
    if (auto* submission = std::get_if<Submission>(&pending)) {
      absl::StatusOr<StepResult> result = Apply(*submission, listener.get());
      answers.push_back({std::move(submission->done), std::move(result)});
    } else {
      auto& inspection = std::get<Inspection>(pending);
      inspection.read(*learner_);
      inspection.done(absl::OkStatus());
    }
    if (SteadyClock::now() >= end) break;
  }
  if (listener != nullptr) listener->OnTurnEnd(*learner_);
  for (Answer& answer : answers) answer.done(std::move(answer.result));
  int depth = 0;
  {
    MutexLock lock(&mutex_);
    depth = static_cast<int>(queue_.size());
    running_ = depth > 0;
  }
  if (listener != nullptr) listener->OnQueue(depth);
  if (depth > 0) executor_->Run([self = shared_from_this()] { self->Turn(); });
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
