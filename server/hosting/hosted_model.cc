#include "server/hosting/hosted_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/errors.h"

namespace lazynorm {
absl::Status ModelNotFound(absl::string_view id) {
  return MakeError(
      absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "",
      absl::StrCat("there is no model \"", id.substr(0, 80), "\"; CreateModel makes one"));
}

HostedModel::HostedModel(std::string id, std::shared_ptr<ModelMetrics> metrics,
                         const HostingOptions& options)
    : id_(std::move(id)), metrics_(std::move(metrics)), options_(options) {}

std::shared_ptr<HostedModel> HostedModel::Make(std::string id, std::unique_ptr<DurableModel> model,
                                               Trainer::Reopen reopen,
                                               std::shared_ptr<ModelMetrics> metrics,
                                               const HostingOptions& options) {
  std::shared_ptr<HostedModel> hosted(new HostedModel(std::move(id), std::move(metrics), options));
  hosted->OnTurnEnd (*model)();
  hosted->trainer_ =
      std::make_shared<Trainer>(std::move(model), std::move(reopen), options.max_queued_steps,
                                options.trainers, options.followers);
  hosted->trainer_->Listen(std::shared_ptr<TurnListener>(hosted, hosted.get()));
  return hosted;
}

absl::Status HostedModel::Gone() const {
  return ModelNotFound(id_);
}

void HostedModel::Stamp(Command& command) const {
  const absl::Time now = options_.clock->Now();
  if (auto* train = std::get_if<TrainCommand>(&command)) train->now = absl::ToUnixMicros(now);
  if (auto* remember = std::get_if<RememberCommand>(&command)) {
    remember->now = absl::ToUnixMicros(now);
    remember->expires = absl::ToUnixMicros(now + options_.remember.time);
    remember->max_rows = options_.remember.max_rows;
    remember->max_bytes = options_.remember.max_bytes;
  }
}

absl::Status HostedModel::CheckStep(const Command& command) const {
  const auto* train = std::get_if<TrainCommand>(&command);
  if (train == nullptr) return absl::OkStatus();
  const std::shared_ptr<const ModelView> view = this->view();
  const ModelSpec& spec = *view->spec;
  int replayed = 0;
  for (const ExpertSpec& expert : Experts(spec.learning)) {
    replayed = std::max(replayed, expert.replay.rows_per_step);
  }
  const bool remembered = !train->prediction_ids.empty();
  const int64_t own =
      remembered ? static_cast<int64_t>(train->prediction_ids.size()) : train->batch.rows();
  const int64_t columns = remembered ? view->in_features : train->batch.features.cols();
  const int64_t values = ValuesPerRow(spec, static_cast<int>(columns));
  // The layers' outputs, and what is made of them on the way back.
  const int64_t row_bytes = 2 * values * int64_t{sizeof(float)};
  if ((own + replayed) * row_bytes <= options_.max_step_bytes) return absl::OkStatus();
  return LimitExceeded(
      "features", absl::StrCat("expected at most ",
                               std::max<int64_t>(0, options_.max_step_bytes / row_bytes - replayed),
                               " rows for a network of this size, got ", own,
                               "; --max_step_bytes is ", options_.max_step_bytes));
}

bool HostedModel::CatchUp(absl::AnyInvocable<void(absl::Status)> done) {
  if (catching_up_.exchange(true)) return false;
  int64_t number = 0;
  {
    MutexLock lock(&mutex_);
    number = ++catch_ups_;
  }
  trainer_->CatchUp(
      [self = shared_from_this(), number, done = std::move(done)](absl::Status status) mutable {
        self->catching_up_ = false;
        if (status.ok() || absl::IsUnavailable(status)) self->Settle(number);
        done(std::move(status));
      });
  return true;
}

void HostedModel::Told(int64_t step) {
  MutexLock lock(&mutex_);
  if (step <= view_.Get()->step) return;
  told_step_ = std::max(told_step_.load(), step);
  told_at_ = catch_ups_;
}

// The step may have come and gone, with a checkpoint that was restored: so those who wait for it
// need not be waiting for what is here now.
void HostedModel::Settle(int64_t catch_up) {
  ModelView told;
  {
    MutexLock lock(&mutex_);
    if (told_step_ == 0 || catch_up <= told_at_) return;
    told.step = told_step_.exchange(0);
  }
  WakeWaiters(told);
}

void HostedModel::StartWriting(absl::AnyInvocable<void(absl::Status)> done) {
  trainer_->StartWriting(
      [self = shared_from_this(), done = std::move(done)](absl::Status status) mutable {
        if (status.ok()) self->Settle(std::numeric_limits<int64_t>::max());
        done(std::move(status));
      });
}

void HostedModel::StopWriting(absl::AnyInvocable<void(absl::Status)> done) {
  trainer_->StopWriting(std::move(done));
}

void HostedModel::Submit(Submission submission) {
  if (absl::Status status = CheckStep(submission.command); !status.ok()) {
    return submission.done(std::move(status));
  }
  Stamp(submission.command);
  trainer_->Submit(std::move(submission));
}

void HostedModel::Inspect(absl::AnyInvocable<void(const Learner&)> read,
                          absl::AnyInvocable<void(absl::Status)> done) {
  trainer_->Inspect(
      [read = std::move(read)](DurableModel& model) mutable { read(model.learner()); },
      std::move(done));
}

void HostedModel::CreateCheckpoint(std::string label,
                                   absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) {
  // Exactly one of the two ends calls it: `written`, unless the trainer refuses to begin.
  using Shared = std::shared_ptr<absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)>>;
  Shared shared = std::make_shared<Shared::element_type>(std::move(done));
  auto begun = std::make_shared<bool>(false);
  auto written = [this, self = shared_from_this(), shared](absl::StatusOr<CheckpointInfo> info) {
    options_.predictors->Run(
        [shared, info = std::move(info)]() mutable { (*shared)(std::move(info)); });
  };
  trainer_->Inspect(
      [label = std::move(label), written, begun](DurableModel& model) mutable {
        *begun = true;
        model.WriteCheckpoint(std::move(label), std::move(written));
      },
      [written, begun](absl::Status status) mutable {
        if (!*begun) written(std::move(status));
      });
}

void HostedModel::WithPlan(int columns, PlanDone done) {
  if (std::shared_ptr<const Plan> plan = view()->plan; plan != nullptr) {
    return done(std::move(plan));
  }
  auto resolved = [self = shared_from_this(),
                   done = std::move(done)](absl::StatusOr<StepResult> result) mutable {
    // Off the trainer's thread: predicting must not hold training up.
    self->options_.predictors->Run(
        [self, done = std::move(done), result = std::move(result)]() mutable {
          if (!result.ok()) return done(result.status());
          done(self->view()->plan);
        });
  };
  Submit({.command = ResolveCommand{columns}, .done = std::move(resolved), .chain = nullptr});
}

int64_t HostedModel::WhenStep(int64_t step, absl::AnyInvocable<void(absl::Status)> done) {
  return Wait({.step = step, .resolving = false, .done = std::move(done)});
}

int64_t HostedModel::WhenResolved(absl::AnyInvocable<void(absl::Status)> done) {
  return Wait({.step = 0, .resolving = true, .done = std::move(done)});
}

int64_t HostedModel::Wait(Waiter waiter) {
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (deleted()) {
      status = Gone();
    } else if (!waiter.Has(*view_.Get())) {
      status = waits_over_;
      if (status.ok()) {
        const int64_t ticket = next_ticket_++;
        waiters_.emplace(ticket, std::move(waiter));
        return ticket;
      }
    }
  }
  waiter.done(status);
  return 0;
}

bool HostedModel::StopWaiting(int64_t ticket) {
  MutexLock lock(&mutex_);
  return waiters_.erase(ticket) > 0;
}

void HostedModel::WakeWaiters(const ModelView& view) {
  std::vector<absl::AnyInvocable<void(absl::Status)>> reached;
  {
    MutexLock lock(&mutex_);
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      if (!it->second.Has(view)) {
        ++it;
      } else {
        reached.push_back(std::move(it->second.done));
        it = waiters_.erase(it);
      }
    }
  }
  for (auto& done : reached) {
    options_.predictors->Run([done = std::move(done)]() mutable { done(absl::OkStatus()); });
  }
}

void HostedModel::EndWaits(const absl::Status& status) {
  std::map<int64_t, Waiter> waiters;
  {
    MutexLock lock(&mutex_);
    waits_over_ = status;
    waiters.swap(waiters_);
  }
  for (auto& [ticket, waiter] : waiters) waiter.done(status);
}

void HostedModel::Delete() {
  {
    MutexLock lock(&mutex_);
    deleted_.store(true, std::memory_order_release);  // from now on nobody begins to wait
  }
  trainer_->Close(Gone());
  EndWaits(Gone());
}

void HostedModel::OnStep(const StepResult& result, const DurableModel& model, absl::Duration time) {
  steps_.push_back(
      {result, model.learner().diagnostics().rows, model.averages().prequential_loss(), time});
}

void HostedModel::Tell(const Step& step) {
  metrics_->Trained({.rows = step.rows,
                     .prequential_loss = step.result.prequential_loss,
                     .drift = step.result.drift,
                     .step_time = step.time});
  if (step.result.drift) {
    spdlog::warn("event=drift model={} step={} prequential_loss={}", id_, step.result.step,
                 step.average_loss);
  }
}

void HostedModel::Tell(const ModelView& view) {
  metrics_->SetStatisticsFrozen(view.statistics_frozen);
  metrics_->SetSnapshotTime(view.snapshot_time);
  metrics_->SetRememberedPredictions(view.remembered_predictions);
  metrics_->SetLearning({.train_loss = view.train_loss,
                         .prequential_loss = view.prequential_loss,
                         .loss_gap = view.loss_gap,
                         .gradient_norm = view.gradient_norm,
                         .parameter_norm = view.parameter_norm,
                         .batch_norm_shift = view.batch_norm_shift,
                         .expert_weights = view.expert_weights,
                         .drift_level = view.drift_level});
  metrics_->SetStep(view.step);  // last: with the first step the others are shown
}

// Read and shown under one lock: of two threads, the later one shows what is later.
void HostedModel::OnQueue() {
  MutexLock lock(&mutex_);
  metrics_->SetQueueDepth(trainer_->queued());
}

absl::AnyInvocable<void()> HostedModel::OnTurnEnd(const DurableModel& model) {
  return [this, self = shared_from_this(), view = MakeView(model),
          steps = std::exchange(steps_, {})]() mutable {
    for (const Step& step : steps) Tell(step);
    Publish(std::move(view));
  };
}

// What the model did not change in is taken over from the view before.
std::shared_ptr<const ModelView> HostedModel::MakeView(const DurableModel& model) {
  const Learner& learner = model.learner();
  const bool first = made_ == nullptr;
  auto now = std::make_shared<ModelView>();
  const bool same_plan = !first && made_version_ == model.version() && made_->plan != nullptr;
  now->plan = same_plan ? made_->plan : learner.MakePlan();
  const bool same_spec =
      !first && made_->spec->learning == learner.spec().learning &&
      LearningRate(made_->spec->optimizer) == LearningRate(learner.spec().optimizer);
  now->spec = same_spec ? made_->spec : std::make_shared<const ModelSpec>(learner.spec());
  now->step = learner.step();
  now->rows_trained = learner.rows_trained();
  now->in_features = learner.in_features();
  now->out_features = learner.out_features();
  now->parameter_count = learner.parameter_count();
  now->statistics_frozen = learner.statistics_frozen();
  now->create_time = model.create_time();
  now->update_time = model.update_time();
  now->train_loss = model.averages().train_loss();
  now->prequential_loss = model.averages().prequential_loss();
  now->loss_gap = model.averages().loss_gap();
  now->gradient_norm = learner.diagnostics().gradient_norm;
  now->parameter_norm = learner.diagnostics().parameter_norm;
  now->batch_norm_shift = learner.diagnostics().batch_norm_shift;
  now->expert_weights = learner.expert_weights();
  now->drift_level = learner.diagnostics().drift_level;
  now->drifts = learner.drift().drifts();
  now->last_drift_step = learner.drift().last_drift_step();
  now->remembered_predictions = learner.remembered().size();
  now->snapshot_time = model.snapshot_time();
  now->at = model.position();
  made_version_ = model.version();
  made_ = now;
  return now;
}

void HostedModel::Publish(std::shared_ptr<const ModelView> view) {
  Tell(*view);
  view_.Set(view);
  WakeWaiters(*view);
}

}  // namespace lazynorm
