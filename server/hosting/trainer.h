#ifndef LAZYNORM_SERVER_HOSTING_TRAINER_H_
#define LAZYNORM_SERVER_HOSTING_TRAINER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/command.h"
#include "model/learner.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"
#include "server/hosting/durable_model.h"

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

// Hears of what a trainer does; of each of the first two never on two threads at once.
class TurnListener {
 public:
  virtual ~TurnListener() = default;
  // A Train command was applied; its step is not yet durable.
  virtual void OnStep(const StepResult& result, const DurableModel& model, absl::Duration time) = 0;
  // Makes what is to be published of the model. Called back when it is durable, in order and before
  // anyone is answered, or never.
  virtual absl::AnyInvocable<void()> OnTurnEnd(const DurableModel& model) = 0;
  // Trainer::queued() has changed. May come from any thread, from two at once, and late.
  virtual void OnQueue() = 0;
};

// The one writer of a model. Commands wait in a queue; a turn applies what is queued (for at most
// kTurn at a stretch, so that models share the threads) and commits it. When that is durable, what
// the turn made is published once, and then all are answered; meanwhile the next turn computes. At
// most one turn of a trainer runs at a time.
//
// Where a commit fails, all that was applied since is refused with its status and thrown away; the
// model is opened again as the store has it. Commands are refused for a little while, and then the
// store is tried again.
//
// Where several replicas share the store, one of them writes a model and the trainers of the others
// follow: they refuse commands (NO_WRITER), and their turns repeat what the writer has kept. A
// writer whose commit finds another one in its place becomes a follower. Thread-safe.
class Trainer : public std::enable_shared_from_this<Trainer> {
 public:
  static constexpr absl::Duration kTurn = absl::Milliseconds(2);
  // How long after a failed commit the store is tried again: doubled each time, up to the second.
  static constexpr absl::Duration kFirstRetry = absl::Milliseconds(500);
  static constexpr absl::Duration kLastRetry = absl::Seconds(8);

  using Model = std::unique_ptr<DurableModel>;
  // The model as the store has it; if `write`, as its writer, unless another replica is that.
  using Reopen = std::function<absl::StatusOr<Model>(bool write)>;

  // Turns run on `executor`, those of a follower on `followers`, which is null where this process
  // is the only one.
  Trainer(Model model, Reopen reopen, int max_queued, Executor* executor,
          Executor* followers = nullptr);

  // Must outlive all turns, or be the owner of this trainer. Before the first Submit.
  void Listen(std::weak_ptr<TurnListener> listener) { listener_ = std::move(listener); }

  void Submit(Submission submission);
  // Runs `read` in its turn, and `done` once all that it has seen is durable; never refused because
  // the queue or the store is full.
  void Inspect(absl::AnyInvocable<void(DurableModel&)> read,
               absl::AnyInvocable<void(absl::Status)> done);
  // Whether commands are taken: this is the model's writer.
  bool writes() const { return writes_; }
  // When that last changed.
  std::chrono::steady_clock::time_point role_since() const { return role_since_.load(); }
  // Of a follower: see DurableModel::CatchUp. `done` as Inspect's, once what was read is published.
  void CatchUp(absl::AnyInvocable<void(absl::Status)> done);
  // Makes a follower the writer, see DurableModel::StartWriting.
  void StartWriting(absl::AnyInvocable<void(absl::Status)> done);
  // Makes the writer a follower: refuses what comes, finishes what is queued, then calls `done`.
  void StopWriting(absl::AnyInvocable<void(absl::Status)> done);
  // Another replica writes the model: refuses all that waits; what is not kept is thrown away.
  void LoseModel();
  // Answers all that waits, and all that comes, with `status`. When it returns, the model is not
  // opened again and never will be: its name is free for another one. Not from within a Reopen.
  void Close(absl::Status status);
  // How much waits for its turn.
  int queued() const;

 private:
  struct Inspection {
    absl::AnyInvocable<void(DurableModel&)> read;
    absl::AnyInvocable<void(absl::Status)> done;
  };
  using Pending = std::variant<Submission, Inspection>;
  // What is left to do of a turn, once it is known whether it was kept.
  struct Outcome {
    int64_t opening = 0;  // of the model, counted
    bool wrote = false;   // or tried to
    absl::Status kept;
    absl::AnyInvocable<void()> publish;
    std::vector<absl::AnyInvocable<void(const absl::Status& kept)>> answers;
  };

  void Enqueue(Pending pending);
  // Runs `work` where this trainer's turns run.
  void Run(absl::AnyInvocable<void()> work);
  void SetWrites(bool writes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What came of making a follower's model a newer one.
  void Followed(const absl::Status& status);
  // What a commit's end means for the trainer; returns what is to be answered.
  absl::Status Judge(const Outcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // OK, or why a command is refused now.
  absl::Status CheckSubmission() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Turn();
  // Takes the oldest pending one; false when there is none, and then the turn is over.
  bool Take(Pending& pending);
  // Does what is asked for. Returns how to answer it.
  absl::AnyInvocable<void(const absl::Status&)> Do(Pending pending, TurnListener* listener);
  absl::StatusOr<StepResult> Apply(const Submission& submission, TurnListener* listener);
  static void Refuse(Pending pending, const absl::Status& status);
  // Opens the model again if its latest commit failed. False: there is none to work on.
  bool HaveModel(TurnListener* listener);
  void EndTurn(std::unique_ptr<Outcome> outcome);
  // On a thread of the store.
  void Kept(std::unique_ptr<Outcome> outcome);
  void Finish();
  void FinishOne(Outcome& outcome);
  void Fail(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Lose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Stale() const;
  std::deque<Pending> TakeAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::deque<Pending> TakeSubmissions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Model model_;  // the running turn's
  const Reopen reopen_;
  const int max_queued_;
  Executor* const executor_;
  Executor* const followers_;
  std::weak_ptr<TurnListener> listener_;

  std::atomic<bool> writes_;  // set under the mutex
  std::atomic<std::chrono::steady_clock::time_point> role_since_;

  mutable Mutex mutex_;
  std::deque<Pending> queue_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;  // a turn runs or is about to
  std::deque<std::unique_ptr<Outcome>> outcomes_ ABSL_GUARDED_BY(mutex_);
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;  // they are being finished
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
  int64_t opening_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stale_ ABSL_GUARDED_BY(mutex_) = false;  // the model is ahead of what is kept
  bool reopening_ ABSL_GUARDED_BY(mutex_) = false;
  CondVar reopened_;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);  // how the latest commit of a command ended
  std::chrono::steady_clock::time_point retry_at_ ABSL_GUARDED_BY(mutex_);
  absl::Duration retry_after_ ABSL_GUARDED_BY(mutex_) = kFirstRetry;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_TRAINER_H_
