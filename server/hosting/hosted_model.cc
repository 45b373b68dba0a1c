#include "server/hosting/hosted_model.h"

#include <spdlog/spdlog.h>

#include <utility>
#include <variant>

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
    : id_(std::move(id)),
      metrics_(std::move(metrics)),
      options_(options),
      create_time_(options.clock->Now()) {}

std::shared_ptr<HostedModel> HostedModel::Make(std::string id, std::unique_ptr<Learner> learner,
                                               std::shared_ptr<ModelMetrics> metrics,
                                               const HostingOptions& options) {
  std::shared_ptr<HostedModel> model(new HostedModel(std::move(id), std::move(metrics), options));
  model->Publish(*learner);
  model->trainer_ =
      std::make_shared<Trainer>(std::move(learner), options.max_queued_steps, options.trainers);
  model->trainer_->Listen(std::shared_ptr<TurnListener>(model, model.get()));
  return model;
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

void HostedModel::Submit(Submission submission) {
  Stamp(submission.command);
  trainer_->Submit(std::move(submission));
}

void HostedModel::Inspect(absl::AnyInvocable<void(const Learner&)> read,
                          absl::AnyInvocable<void(absl::Status)> done) {
  trainer_->Inspect(std::move(read), std::move(done));
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
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (deleted()) {
      status = Gone();
    } else if (view_.Get()->step < step) {
      const int64_t ticket = next_ticket_++;
      waiters_.emplace(ticket, Waiter{step, std::move(done)});
      return ticket;
    }
  }
  done(status);
  return 0;
}

bool HostedModel::StopWaiting(int64_t ticket) {
  MutexLock lock(&mutex_);
  return waiters_.erase(ticket) > 0;
}

void HostedModel::WakeWaiters(int64_t step) {
  std::vector<absl::AnyInvocable<void(absl::Status)>> reached;
  {
    MutexLock lock(&mutex_);
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      if (it->second.step > step) {
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

void HostedModel::OnStep(const StepResult& result, const StepDiagnostics& diagnostics,
                         absl::Duration time) {
  loss_.Add(result.loss);
  prequential_loss_.Add(result.prequential_loss);
  loss_gap_.Add(diagnostics.loss - result.prequential_loss);
  metrics_->Trained({.step = result.step,
                     .rows = diagnostics.rows,
                     .train_loss = loss_.value(),
                     .prequential_loss = prequential_loss_.value(),
                     .latest_prequential_loss = result.prequential_loss,
                     .loss_gap = loss_gap_.value(),
                     .gradient_norm = diagnostics.gradient_norm,
                     .parameter_norm = diagnostics.parameter_norm,
                     .batch_norm_shift = diagnostics.batch_norm_shift,
                     .expert_weights = diagnostics.expert_weights,
                     .drift = result.drift,
                     .drift_level = diagnostics.drift_level,
                     .step_time = time});
  if (result.drift) {
    spdlog::warn("event=drift model={} step={} prequential_loss={}", id_, result.step,
                 prequential_loss_.value());
  }
}

// Read and shown under one lock: of two threads, the later one shows what is later.
void HostedModel::OnQueue() {
  MutexLock lock(&mutex_);
  metrics_->SetQueueDepth(trainer_->queued());
}

void HostedModel::OnTurnEnd(const Learner& learner) {
  Publish(learner);
}

// What the learner's own state did not change in is taken over from the view before.
void HostedModel::Publish(const Learner& learner) {
  const std::shared_ptr<const ModelView> before = view_.Get();
  const bool first = before == nullptr;
  auto now = std::make_shared<ModelView>();
  const bool same_plan = !first && before->step == learner.step() && before->plan != nullptr;
  now->plan = same_plan ? before->plan : learner.MakePlan();
  const bool same_spec =
      !first && before->spec->learning == learner.spec().learning &&
      LearningRate(before->spec->optimizer) == LearningRate(learner.spec().optimizer);
  now->spec = same_spec ? before->spec : std::make_shared<const ModelSpec>(learner.spec());
  now->step = learner.step();
  now->rows_trained = learner.rows_trained();
  now->in_features = learner.in_features();
  now->out_features = learner.out_features();
  now->parameter_count = learner.parameter_count();
  now->statistics_frozen = learner.statistics_frozen();
  now->create_time = create_time_;
  now->train_loss = loss_.value();
  now->prequential_loss = prequential_loss_.value();
  now->gradient_norm = learner.diagnostics().gradient_norm;
  now->parameter_norm = learner.diagnostics().parameter_norm;
  now->batch_norm_shift = learner.diagnostics().batch_norm_shift;
  now->expert_weights = learner.expert_weights();
  now->drifts = learner.drift().drifts();
  now->last_drift_step = learner.drift().last_drift_step();
  now->remembered_predictions = learner.remembered().size();
  const bool changed = first || before->plan != now->plan || !same_spec ||
                       before->statistics_frozen != now->statistics_frozen;
  now->update_time = first ? create_time_ : changed ? options_.clock->Now() : before->update_time;
  view_.Set(now);
  metrics_->SetStatisticsFrozen(now->statistics_frozen);
  metrics_->SetRememberedPredictions(now->remembered_predictions);
  if (!first) WakeWaiters(now->step);
}

}  // namespace lazynorm
