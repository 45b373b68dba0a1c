#include "server/hosting/trainer.h"

#include <algorithm>
#include <chrono>
#include <utility>

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

// Certain: nothing of it was kept, since somebody else writes.
bool IsFenced(const absl::Status& kept) {
  return ReasonOf(kept) == "NOT_HOLDER";
}

}  // namespace

Trainer::Trainer(Model model, Reopen reopen, int max_queued, Executor* executor,
                 Executor* followers)
    : model_(std::move(model)),
      reopen_(std::move(reopen)),
      max_queued_(max_queued),
      executor_(executor),
      followers_(followers),
      writes_(model_->writes()),
      role_since_(SteadyClock::now()) {}

void Trainer::Run(absl::AnyInvocable<void()> work) {
  (writes_ || followers_ == nullptr ? executor_ : followers_)->Run(std::move(work));
}

void Trainer::Submit(Submission submission) {
  Enqueue(std::move(submission));
}

void Trainer::Inspect(absl::AnyInvocable<void(DurableModel&)> read,
                      absl::AnyInvocable<void(absl::Status)> done) {
  Enqueue(Inspection{std::move(read), std::move(done)});
}

void Trainer::Enqueue(Pending pending) {
  absl::Status refusal;
  bool start = false;
  {
    MutexLock lock(&mutex_);
    refusal = closed_;
    if (refusal.ok() && std::holds_alternative<Submission>(pending)) refusal = CheckSubmission();
    if (refusal.ok()) {
      queue_.push_back(std::move(pending));
      start = !std::exchange(running_, true);
    }
  }
  if (!refusal.ok()) return Refuse(std::move(pending), refusal);  // NOLINT: not moved then
  if (auto listener = listener_.lock()) listener->OnQueue();
  if (start) Run([self = shared_from_this()] { self->Turn(); });
}

absl::Status Trainer::CheckSubmission() const {
  if (!writes_) return NoWriter();
  if (!failed_.ok() && SteadyClock::now() < retry_at_) return failed_;
  if (static_cast<int>(queue_.size()) >= max_queued_) return QueueFull(max_queued_);
  return absl::OkStatus();
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
  if (queue_.empty() || stale_) return false;
  pending = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

std::deque<Trainer::Pending> Trainer::TakeAll() {
  return std::exchange(queue_, {});
}

std::deque<Trainer::Pending> Trainer::TakeSubmissions() {
  std::deque<Pending> submissions, others;
  for (Pending& pending : queue_) {
    (std::holds_alternative<Submission>(pending) ? submissions : others)
        .push_back(std::move(pending));
  }
  queue_ = std::move(others);
  return submissions;
}

absl::StatusOr<StepResult> Trainer::Apply(const Submission& submission, TurnListener* listener) {
  if (submission.chain != nullptr && submission.chain->broken) {
    return absl::CancelledError("a message before this one was refused");
  }
  if (!model_->writes()) return NoWriter();
  const auto start = SteadyClock::now();
  absl::StatusOr<StepResult> result = model_->Apply(submission.command);
  if (!result.ok()) {
    if (submission.chain != nullptr) submission.chain->broken = true;
  } else if (listener != nullptr && std::holds_alternative<TrainCommand>(submission.command) &&
             !result->replayed) {
    listener->OnStep(*result, *model_, absl::FromChrono(SteadyClock::now() - start));
  }
  return result;
}

absl::AnyInvocable<void(const absl::Status&)> Trainer::Do(Pending pending, TurnListener* listener) {
  if (auto* submission = std::get_if<Submission>(&pending)) {
    absl::StatusOr<StepResult> result = Apply(*submission, listener);
    return [done = std::move(submission->done), chain = std::move(submission->chain),
            result = std::move(result)](const absl::Status& kept) mutable {
      if (!kept.ok() && chain != nullptr) chain->broken = true;
      // What was refused by the model is refused whether the others were kept or not.
      done(kept.ok() || !result.ok() ? std::move(result) : kept);
    };
  }
  auto& inspection = std::get<Inspection>(pending);
  inspection.read(*model_);
  return [done = std::move(inspection.done)](const absl::Status& kept) mutable { done(kept); };
}

bool Trainer::HaveModel(TurnListener* listener) {
  {
    MutexLock lock(&mutex_);
    if (!stale_) return true;
    if (!closed_.ok()) return running_ = false;  // the name may be another model's by now
    reopening_ = true;
  }
  model_ = nullptr;
  absl::StatusOr<Model> opened = reopen_(writes_);
  std::deque<Pending> refused;
  {
    MutexLock lock(&mutex_);
    reopening_ = false;
    reopened_.NotifyAll();
    if (opened.ok()) {
      ++opening_;
      stale_ = false;
      if (!writes_) (*opened)->StopWriting();  // it was lost meanwhile
      SetWrites((*opened)->writes());
    } else {
      Fail(opened.status());
      refused = TakeAll();
      running_ = false;
    }
  }
  for (Pending& pending : refused) Refuse(std::move(pending), opened.status());
  if (!opened.ok()) return false;
  model_ = *std::move(opened);
  // An unknown outcome may have been a success.
  auto outcome = std::make_unique<Outcome>();
  if (listener != nullptr) outcome->publish = listener->OnTurnEnd(*model_);
  Kept(std::move(outcome));
  return true;
}

void Trainer::Turn() {
  const auto listener = listener_.lock();
  if (!HaveModel(listener.get())) return;
  const auto end = SteadyClock::now() + absl::ToChronoNanoseconds(kTurn);
  auto outcome = std::make_unique<Outcome>();
  Pending pending;
  while (Take(pending)) {
    outcome->wrote |= std::holds_alternative<Submission>(pending);
    outcome->answers.push_back(Do(std::move(pending), listener.get()));
    if (SteadyClock::now() >= end) break;
  }
  if (!outcome->answers.empty()) {
    if (listener != nullptr) outcome->publish = listener->OnTurnEnd(*model_);
    if (Stale()) outcome->publish = nullptr;
    EndTurn(std::move(outcome));
  }
  bool more = false;
  std::deque<Pending> refused;
  absl::Status failed;
  {
    MutexLock lock(&mutex_);
    failed = failed_;
    if (stale_) refused = TakeSubmissions();
    more = running_ = !queue_.empty();
  }
  for (Pending& each : refused) Refuse(std::move(each), failed);
  if (listener != nullptr) listener->OnQueue();
  if (more) Run([self = shared_from_this()] { self->Turn(); });
}

void Trainer::EndTurn(std::unique_ptr<Outcome> outcome) {
  {
    MutexLock lock(&mutex_);
    outcome->opening = opening_;
  }
  model_->Commit(
      [self = shared_from_this(), outcome = std::move(outcome)](absl::Status kept) mutable {
        outcome->kept = std::move(kept);
        self->Kept(std::move(outcome));
      });
}

// The store's thread has other commits to do: answering goes to the trainers' threads.
void Trainer::Kept(std::unique_ptr<Outcome> outcome) {
  {
    MutexLock lock(&mutex_);
    outcomes_.push_back(std::move(outcome));
    if (std::exchange(finishing_, true)) return;
  }
  Run([self = shared_from_this()] { self->Finish(); });
}

// One by one, in the order of the turns.
void Trainer::Finish() {
  while (true) {
    std::unique_ptr<Outcome> outcome;
    {
      MutexLock lock(&mutex_);
      finishing_ = !outcomes_.empty();
      if (!finishing_) return;
      outcome = std::move(outcomes_.front());
      outcomes_.pop_front();
    }
    FinishOne(*outcome);
  }
}

// Nobody is answered before the turn's work is published: who has an answer sees it everywhere.
void Trainer::FinishOne(Outcome& outcome) {
  {
    MutexLock lock(&mutex_);
    outcome.kept = Judge(outcome);
  }
  if (outcome.kept.ok() && outcome.publish != nullptr) outcome.publish();
  for (auto& answer : outcome.answers) answer(outcome.kept);
}

absl::Status Trainer::Judge(const Outcome& outcome) {
  const bool fenced = followers_ != nullptr && IsFenced(outcome.kept);
  const absl::Status kept = fenced ? NoWriter() : outcome.kept;
  if (outcome.opening != opening_) return kept;
  if (fenced) {
    Lose();
  } else if (!kept.ok()) {
    Fail(kept);
  } else if (outcome.wrote) {
    failed_ = absl::OkStatus();
    retry_after_ = kFirstRetry;
  }
  return kept;
}

void Trainer::Lose() {
  SetWrites(false);
  stale_ = true;
  failed_ = NoWriter();
  retry_at_ = SteadyClock::now();
}

void Trainer::SetWrites(bool writes) {
  if (writes_.exchange(writes) != writes) role_since_ = SteadyClock::now();
}

void Trainer::CatchUp(absl::AnyInvocable<void(absl::Status)> done) {
  absl::Status refusal;
  {
    MutexLock lock(&mutex_);
    // What cannot be repeated is not tried again all the time.
    if (stale_ && SteadyClock::now() < retry_at_) refusal = failed_;
  }
  if (!refusal.ok()) return done(refusal);
  auto result = std::make_shared<absl::Status>();
  Inspect(
      [this, result](DurableModel& model) {
        if (!model.writes()) Followed(*result = model.CatchUp());
      },
      [result, done = std::move(done)](const absl::Status& kept) mutable {
        done(kept.ok() ? *result : kept);
      });
}

void Trainer::StartWriting(absl::AnyInvocable<void(absl::Status)> done) {
  auto result = std::make_shared<absl::Status>();
  Inspect(
      [this, result](DurableModel& model) {
        Followed(*result = model.StartWriting());
        if (!result->ok()) return;
        MutexLock lock(&mutex_);
        failed_ = absl::OkStatus();
        retry_after_ = kFirstRetry;
        SetWrites(true);
      },
      [result, done = std::move(done)](const absl::Status& kept) mutable {
        done(kept.ok() ? *result : kept);
      });
}

void Trainer::StopWriting(absl::AnyInvocable<void(absl::Status)> done) {
  {
    MutexLock lock(&mutex_);
    SetWrites(false);
  }
  Inspect([](DurableModel&) {},
          [self = shared_from_this(), done = std::move(done)](absl::Status kept) mutable {
            if (!kept.ok()) return done(std::move(kept));
            self->Inspect([](DurableModel& model) { model.StopWriting(); }, std::move(done));
          });
}

void Trainer::LoseModel() {
  std::deque<Pending> refused;
  {
    MutexLock lock(&mutex_);
    if (!writes_) return;
    Lose();
    refused = TakeSubmissions();
  }
  for (Pending& pending : refused) Refuse(std::move(pending), NoWriter());
}

// An outage, or a writer that came first, leaves a model that is whole.
void Trainer::Followed(const absl::Status& status) {
  if (status.ok() || absl::IsUnavailable(status) || absl::IsNotFound(status)) return;
  if (ReasonOf(status) == "NOT_HOLDER") return;
  MutexLock lock(&mutex_);
  Fail(status);
}

void Trainer::Fail(const absl::Status& status) {
  if (failed_.ok() || SteadyClock::now() >= retry_at_) {
    retry_at_ = SteadyClock::now() + absl::ToChronoNanoseconds(retry_after_);
    retry_after_ = std::min(2 * retry_after_, kLastRetry);
  }
  failed_ = status;
  stale_ = true;
}

bool Trainer::Stale() const {
  MutexLock lock(&mutex_);
  return stale_;
}

int Trainer::queued() const {
  MutexLock lock(&mutex_);
  return static_cast<int>(queue_.size());
}

void Trainer::Close(absl::Status status) {
  std::deque<Pending> waiting;
  {
    MutexLock lock(&mutex_);
    if (closed_.ok()) closed_ = status;
    waiting = TakeAll();
    while (reopening_) reopened_.Wait(&mutex_);
  }
  for (Pending& pending : waiting) Refuse(std::move(pending), status);
}

}  // namespace lazynorm
