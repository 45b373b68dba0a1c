#ifndef LAZYNORM_SERVER_HOSTING_HOSTED_MODEL_H_
#define LAZYNORM_SERVER_HOSTING_HOSTED_MODEL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/learner.h"
#include "model/plan.h"
#include "server/base/clock.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"
#include "server/base/published.h"
#include "server/hosting/durable_model.h"
#include "server/hosting/prediction_tally.h"
#include "server/hosting/trainer.h"
#include "server/metrics/model_metrics.h"

namespace lazynorm {

// A model as it stands after its latest turn. Immutable.
struct ModelView {
  std::shared_ptr<const ModelSpec> spec;
  std::shared_ptr<const Plan> plan;  // null while lazy
  int64_t step = 0;
  int64_t rows_trained = 0;
  int in_features = 0;  // 0 while lazy
  int out_features = 0;
  int64_t parameter_count = 0;  // 0 while lazy
  bool statistics_frozen = false;
  absl::Time create_time, update_time;
  // Exponentially weighted over the latest steps; NaN before the first.
  double train_loss, prequential_loss, loss_gap;
  // Of the latest step, see StepDiagnostics.
  double gradient_norm = 0, parameter_norm = 0;
  std::vector<double> batch_norm_shift;
  std::vector<double> expert_weights;  // empty while lazy
  double drift_level = 0;
  int64_t drifts = 0, last_drift_step = 0;
  int64_t remembered_predictions = 0;
  absl::Time snapshot_time;
  Position at;  // of a follower: what it has read
};

// How much of what was predicted a model remembers, see RememberedPredictions.
struct RememberOptions {
  int64_t max_rows = 100'000;
  int64_t max_bytes = 64 << 20;
  absl::Duration time = absl::Hours(24);
};

// What a model needs of the process that hosts it. All outlive the model.
struct HostingOptions {
  int max_queued_steps = 1024;
  int64_t max_step_bytes = int64_t{1} << 30;  // that a learning step may need for its rows
  RememberOptions remember;
  Executor* trainers = nullptr;    // turns run here
  Executor* predictors = nullptr;  // what waited for a plan runs here
  Executor* followers = nullptr;   // turns of what another replica writes; null: there is none
  const Clock* clock = nullptr;
  Store* store = nullptr;
  absl::Duration replay_budget = absl::Seconds(5);  // see DurableOptions
};

// A model that is served: its learner behind a trainer, and what its latest turn published. Readers
// never wait for a learning step. Where several replicas share the store, all serve it and one of
// them writes it. Thread-safe.
class HostedModel final : public std::enable_shared_from_this<HostedModel>, private TurnListener {
 public:
  using PlanDone = absl::AnyInvocable<void(absl::StatusOr<std::shared_ptr<const Plan>>)>;

  // `reopen` gives the model as the store has it, see Trainer.
  static std::shared_ptr<HostedModel> Make(std::string id, std::unique_ptr<DurableModel> model,
                                           Trainer::Reopen reopen,
                                           std::shared_ptr<ModelMetrics> metrics,
                                           const HostingOptions& options);

  const std::string& id() const { return id_; }
  ModelMetrics& metrics() const { return *metrics_; }
  PredictionTally& predictions() { return predictions_; }
  std::shared_ptr<const ModelView> view() const { return view_.Get(); }
  bool deleted() const { return deleted_.load(std::memory_order_acquire); }

  // Whether this process writes the model; others are told NO_WRITER by what changes it. Since
  // when.
  bool writes() const { return trainer_->writes(); }
  std::chrono::steady_clock::time_point role_since() const { return trainer_->role_since(); }
  // See Trainer. At most one CatchUp is under way; where there is one, `done` is dropped and this
  // is false.
  bool CatchUp(absl::AnyInvocable<void(absl::Status)> done = [](const absl::Status&) {});
  void StartWriting(absl::AnyInvocable<void(absl::Status)> done);
  void StopWriting(absl::AnyInvocable<void(absl::Status)> done);
  void LoseModel() { trainer_->LoseModel(); }

  // A caller of this process was told of a step that another replica has taken: who predicts from
  // now on should see it.
  void Told(int64_t step);
  // The step that a prediction must have seen; 0 if there is none that is not here.
  int64_t told_step() const { return told_step_.load(std::memory_order_acquire); }

  // Changes the model, in the order of submission; see Trainer::Submit. The command is told what
  // only the host knows: the time, and how much may be remembered. LIMIT_EXCEEDED for a step that
  // would need more memory than max_step_bytes.
  void Submit(Submission submission);

  // Runs `read` on the learner between two commands, then `done`, once what was read is durable.
  void Inspect(absl::AnyInvocable<void(const Learner&)> read,
               absl::AnyInvocable<void(absl::Status)> done);

  // Keeps the whole state under a label; `done` runs on a predictor.
  void CreateCheckpoint(std::string label,
                        absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done);

  // The plan, for features of this many columns: at once if the model is resolved, else after
  // resolving it. `done` runs inline or on a predictor; MODEL_NOT_FOUND if the model goes
  // meanwhile.
  void WithPlan(int columns, PlanDone done);

  // A call of `done` once the model has reached `step`, or with MODEL_NOT_FOUND. Returns a ticket
  // for StopWaiting; 0 if `done` ran inline because there was nothing to wait for.
  int64_t WhenStep(int64_t step, absl::AnyInvocable<void(absl::Status)> done);
  // The same, once the model is resolved.
  int64_t WhenResolved(absl::AnyInvocable<void(absl::Status)> done);
  // True if the wait was still on: its `done` will not run.
  bool StopWaiting(int64_t ticket);
  // Calls every `done` that waits with `status`; who would begin to wait from now on is told the
  // same.
  void EndWaits(const absl::Status& status);

  // Ends the model: all that waits is answered MODEL_NOT_FOUND, and so is all that comes.
  void Delete();

 private:
  struct Waiter {
    int64_t step;    // or,
    bool resolving;  // the plan is waited for
    absl::AnyInvocable<void(absl::Status)> done;

    bool Has(const ModelView& view) const {
      return resolving ? view.plan != nullptr : view.step >= step;
    }
  };

  HostedModel(std::string id, std::shared_ptr<ModelMetrics> metrics, const HostingOptions& options);

  // TurnListener, on the trainer's thread.
  void OnStep(const StepResult& result, const DurableModel& model, absl::Duration time) override;
  absl::AnyInvocable<void()> OnTurnEnd(const DurableModel& model) override;
  void OnQueue() override;

  // A step that is applied and not yet known to be durable.
  struct Step {
    StepResult result;
    int64_t rows;
    double average_loss;  // prequential, with it
    absl::Duration time;
  };

  void Stamp(Command& command) const;
  absl::Status CheckStep(const Command& command) const;
  std::shared_ptr<const ModelView> MakeView(const DurableModel& model);
  void Publish(std::shared_ptr<const ModelView> view);
  void Tell(const Step& step);
  void Tell(const ModelView& view);
  int64_t Wait(Waiter waiter);
  void WakeWaiters(const ModelView& view);
  // What was told of before that CatchUp was called is here, or out of reach.
  void Settle(int64_t catch_up);
  absl::Status Gone() const;

  const std::string id_;
  const std::shared_ptr<ModelMetrics> metrics_;
  const HostingOptions options_;
  std::shared_ptr<Trainer> trainer_;
  Published<ModelView> view_;
  std::atomic<bool> deleted_ = false;
  std::atomic<bool> catching_up_ = false;
  std::atomic<int64_t> told_step_ = 0;  // set under the mutex
  PredictionTally predictions_;

  // The trainer's alone.
  std::vector<Step> steps_;                // since the latest OnTurnEnd
  std::shared_ptr<const ModelView> made_;  // the latest view, maybe not published yet
  int64_t made_version_ = 0;               // DurableModel::version of it

  Mutex mutex_;
  int64_t next_ticket_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<int64_t, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  absl::Status waits_over_ ABSL_GUARDED_BY(mutex_);  // not OK: nobody begins to wait any more
  int64_t catch_ups_ ABSL_GUARDED_BY(mutex_) = 0;    // that were called
  int64_t told_at_ ABSL_GUARDED_BY(mutex_) = 0;      // how many they were then
};

// NOT_FOUND, reason MODEL_NOT_FOUND.
absl::Status ModelNotFound(absl::string_view id);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_HOSTED_MODEL_H_
