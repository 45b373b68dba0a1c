#ifndef LAZYNORM_SERVER_HOSTING_TRAINER_H_
#define LAZYNORM_SERVER_HOSTING_TRAINER_H_

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/command.h"
#include "model/learner.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"

namespace lazynorm {

// Commands that follow one another in a stream: once one is refused, those behind it are not
// applied. Thread-safe.
struct CommandChain {
  std::atomic<bool> broken = false;
};

// A command on its way to a learner.
struct Submission {
  Command command;  // its memory must live until `done`
  // Called once, on a trainer thread or, when refused at once, inline. With the command's own
  // error; RESOURCE_EXHAUSTED, reason QUEUE_FULL; MODEL_NOT_FOUND; CANCELLED behind a broken chain.
  absl::AnyInvocable<void(absl::StatusOr<StepResult>)> done;
  std::shared_ptr<CommandChain> chain;  // may be null
};

// Hears of what a trainer does, on the trainer's thread, never on two at once.
class TurnListener {
 public:
  virtual ~TurnListener() = default;
  // A Train command was applied; its step is not yet visible.
  virtual void OnStep(const StepResult& result, const StepDiagnostics& diagnostics,
                      absl::Duration time) = 0;
  // To publish what the turn made of the learner, before anyone is answered.
  virtual void OnTurnEnd(const Learner& learner) = 0;
  // Trainer::queued() has changed. May come from any thread, from two at once, and late.
  virtual void OnQueue() = 0;
};

// The one writer of a learner. Commands wait in a queue; a turn applies what is queued (for at most
// kTurn at a stretch, so that models share the threads), publishes once, then answers. At most one
// turn of a trainer runs at a time. Thread-safe.
class Trainer : public std::enable_shared_from_this<Trainer> {
 public:
  static constexpr absl::Duration kTurn = absl::Milliseconds(2);

  Trainer(std::unique_ptr<Learner> learner, int max_queued, Executor* executor)
      : learner_(std::move(learner)), max_queued_(max_queued), executor_(executor) {}

  // Must outlive all turns, or be the owner of this trainer. Before the first Submit.
  void Listen(std::weak_ptr<TurnListener> listener) { listener_ = std::move(listener); }

  void Submit(Submission submission);
  // Runs `read` in its turn; never refused as full.
  void Inspect(absl::AnyInvocable<void(const Learner&)> read,
               absl::AnyInvocable<void(absl::Status)> done);
  // Answers all that waits, and all that comes, with `status`.
  void Close(absl::Status status);
  // How much waits for its turn.
  int queued() const;

 private:
  struct Inspection {
    absl::AnyInvocable<void(const Learner&)> read;
    absl::AnyInvocable<void(absl::Status)> done;
  };
  using Pending = std::variant<Submission, Inspection>;

  void Enqueue(Pending pending);
  void Turn();
  // Takes the oldest pending one; false when there is none, and then the turn is over.
  bool Take(Pending& pending);
  // Does what is asked for. Returns what is left: to answer, once the turn is published.
  absl::AnyInvocable<void()> Do(Pending pending, TurnListener* listener);
  absl::StatusOr<StepResult> Apply(const Submission& submission, TurnListener* listener);
  static void Refuse(Pending pending, const absl::Status& status);

  const std::unique_ptr<Learner> learner_;  // the running turn's
  const int max_queued_;
  Executor* const executor_;
  std::weak_ptr<TurnListener> listener_;

  mutable Mutex mutex_;
  std::deque<Pending> queue_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;  // a turn runs or is about to
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_TRAINER_H_
