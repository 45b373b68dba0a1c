#include "server/hosting/registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/base/log_text.h"

namespace lazynorm {
namespace {

std::vector<int> BatchNormLayers(const ModelSpec& spec) {
  std::vector<int> layers;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (std::holds_alternative<BatchNormSpec>(spec.layers[i]))
      layers.push_back(static_cast<int>(i));
  }
  return layers;
}

// As the writer if that is wanted and nobody else is it.
absl::StatusOr<std::unique_ptr<DurableModel>> OpenOrFollow(const std::string& id, bool write,
                                                           const DurableOptions& options) {
  if (!write) return DurableModel::Follow(id, options);
  auto opened = DurableModel::Open(id, options);
  if (ReasonOf(opened.status()) == "NOT_HOLDER") return DurableModel::Follow(id, options);
  return opened;
}

}  // namespace

Registry::Registry(RegistryOptions options, Metrics& metrics)
    : options_(std::move(options)), metrics_(metrics) {}

DurableOptions Registry::durable() const {
  return {.store = options_.hosting.store,
          .clock = options_.hosting.clock,
          .limits = options_.limits,
          .replay_budget = options_.hosting.replay_budget,
          .models = &count_};
}

absl::Status Registry::CheckNew(const std::string& id) const {
  if (models_.contains(id) || coming_.contains(id) || damaged_.contains(id)) {
    return MakeError(absl::StatusCode::kAlreadyExists, "MODEL_EXISTS", "",
                     absl::StrCat("there is a model \"", id, "\" already"));
  }
  const size_t models = models_.size() + coming_.size() + damaged_.size();
  if (static_cast<int>(models) < options_.max_models) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED", "",
                   absl::StrCat("expected at most ", options_.max_models,
                                " models; delete one, or raise --max_models"));
}

absl::StatusOr<std::shared_ptr<HostedModel>> Registry::Create(
    const std::string& id, ModelSpec spec, const std::vector<StateTensor>& initial_state) {
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(CheckNew(id));  // cheap refusal, before any parameter is drawn
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Learner> learner,
                   Learner::Create(std::move(spec), options_.limits, initial_state));
  return Add(id, std::move(learner));
}

std::shared_ptr<HostedModel> Registry::Host(const std::string& id,
                                            std::unique_ptr<DurableModel> model) {
  const std::vector<int> layers = BatchNormLayers(model->learner().spec());
  auto hosted = HostedModel::Make(
      id, std::move(model), [this, id](bool write) { return OpenOrFollow(id, write, durable()); },
      metrics_.AddModel(id, layers), options_.hosting);
  models_.emplace(id, hosted);
  count_ = static_cast<int>(models_.size());
  SetShadowLocked(id, hosted->view()->spec->learning.shadow_of);
  if (options_.on_created) options_.on_created(id, true);
  return hosted;
}

absl::StatusOr<std::shared_ptr<HostedModel>> Registry::Add(const std::string& id,
                                                           std::unique_ptr<Learner> learner) {
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(CheckNew(id));
    coming_.insert(id);
  }
  absl::StatusOr<std::unique_ptr<DurableModel>> model =
      DurableModel::Create(id, std::move(learner), durable());
  MutexLock lock(&mutex_);
  coming_.erase(id);
  if (!model.ok()) return model.status();
  auto hosted = Host(id, *std::move(model));
  spdlog::info("event=model_created model={} models={}", id, models_.size());
  return hosted;
}

absl::Status Registry::RecoverOne(const StoredModel& stored) {
  using Opened = absl::StatusOr<std::unique_ptr<DurableModel>>;
  const bool alone = store().cluster() == nullptr;
  Opened model =
      stored.damage.ok() ? OpenOrFollow(stored.model, alone, durable()) : Opened(stored.damage);
  MutexLock lock(&mutex_);
  if (models_.contains(stored.model)) return absl::OkStatus();
  if (model.ok()) {
    spdlog::info("event=model_recovered model={} step={}", stored.model,
                 (*model)->learner().step());
    Host(stored.model, *std::move(model));
    return absl::OkStatus();
  }
  if (!alone && absl::IsNotFound(model.status())) return absl::OkStatus();  // deleted meanwhile
  if (!absl::IsDataLoss(model.status())) return model.status();
  spdlog::error("event=model_damaged model={} message={}", stored.model,
                LogText(model.status().message()));
  damaged_.emplace(stored.model, model.status());
  if (options_.on_created) options_.on_created(stored.model, false);
  return model.status();
}

absl::Status Registry::Recover(bool strict) {
  ASSIGN_OR_RETURN(const std::vector<StoredModel> stored, store().Models());
  constexpr int kMost = 8;
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const absl::Time begin = options_.hosting.clock->Now();
  Mutex mutex;
  absl::Status worst;
  std::atomic<size_t> next = 0, done = 0;
  const auto recover = [&] {
    for (size_t i = next++; i < stored.size(); i = next++) {
      const absl::Status status = RecoverOne(stored[i]);
      const bool fatal = !status.ok() && (strict || !absl::IsDataLoss(status));
      MutexLock lock(&mutex);
      if (fatal) worst.Update(status);
      if (++done % 100 == 0) spdlog::info("event=recovering models={}/{}", done, stored.size());
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < std::min(cores, kMost); ++i) threads.emplace_back(recover);
  for (std::thread& thread : threads) thread.join();
  RETURN_IF_ERROR(worst);
  const double seconds = absl::ToDoubleSeconds(options_.hosting.clock->Now() - begin);
  metrics_.SetRecoverySeconds(seconds);
  spdlog::info("event=recovered models={} seconds={:.3f}", stored.size(), seconds);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<HostedModel>> Registry::Find(absl::string_view id) const {
  MutexLock lock(&mutex_);
  const auto found = models_.find(id);
  if (found != models_.end()) return found->second;
  const auto damaged = damaged_.find(id);
  if (damaged != damaged_.end()) return damaged->second;
  return ModelNotFound(id);
}

absl::Status Registry::Delete(absl::string_view id) {
  {
    MutexLock lock(&mutex_);
    if (!models_.contains(id) && !damaged_.contains(id)) return ModelNotFound(id);
  }
  RETURN_IF_ERROR(store().Delete(id));
  Forget(id);
  return absl::OkStatus();
}

void Registry::Forget(absl::string_view id) {
  // Before its name is free: its trainer must not open the next model of that name.
  const auto closed = Find(id);
  if (closed.ok()) (*closed)->Delete();
  MutexLock lock(&mutex_);
  const auto found = models_.find(id);
  if (closed.ok() && found != models_.end() && found->second == *closed) {
    models_.erase(found);
    count_ = static_cast<int>(models_.size());
    SetShadowLocked(std::string(id), "");
    metrics_.RemoveModel(id);
  } else if (damaged_.erase(std::string(id)) == 0) {
    return;  // somebody else was faster
  }
  if (options_.on_deleted) options_.on_deleted(id);
  spdlog::info("event=model_deleted model={} models={}", std::string(id), models_.size());
}

absl::Status Registry::Follow(const std::string& id) {
  {
    MutexLock lock(&mutex_);
    if (models_.contains(id) || damaged_.contains(id) || !coming_.insert(id).second) {
      return absl::OkStatus();
    }
  }
  const absl::Status followed = RecoverOne({.model = id, .damage = absl::OkStatus()});
  MutexLock lock(&mutex_);
  coming_.erase(id);
  return followed;
}

absl::StatusOr<SavedModel> Registry::ReadAt(absl::string_view id, int64_t step) const {
  return DurableModel::ReadAt(std::string(id), step, durable());
}

void Registry::Flush() const {
  for (const auto& model : List("", options_.max_models)) {
    Mutex mutex;
    CondVar changed;
    bool done = false;
    model->Inspect([](const Learner&) {},
                   [&](absl::Status) {
                     MutexLock lock(&mutex);
                     done = true;
                     changed.NotifyAll();
                   });
    MutexLock lock(&mutex);
    while (!done) changed.Wait(&mutex);
  }
}

absl::Status Registry::CheckShadow(absl::string_view id, absl::string_view of) const {
  if (of.empty()) return absl::OkStatus();
  constexpr char kField[] = "learning.shadow_of";
  if (id == of) return InvalidUpdate(kField, "expected another model than the one that learns");
  RETURN_IF_ERROR(Find(of).status());
  MutexLock lock(&mutex_);
  for (const auto& [shadow, whose] : shadow_of_) {
    if (shadow == of) {
      return InvalidUpdate(kField, absl::StrCat("expected a model that is no shadow, got ", of,
                                                ", a shadow of ", whose));
    }
    if (whose == id) {
      return InvalidUpdate(kField, absl::StrCat("expected none: ", shadow, " is a shadow of ", id));
    }
  }
  return absl::OkStatus();
}

void Registry::SetShadow(const std::string& id, const std::string& of) {
  MutexLock lock(&mutex_);
  SetShadowLocked(id, of);
}

void Registry::SetShadowLocked(const std::string& id, const std::string& of) {
  if (of.empty()) {
    shadow_of_.erase(id);
  } else {
    shadow_of_[id] = of;
  }
}

std::vector<std::shared_ptr<HostedModel>> Registry::ShadowsOf(absl::string_view id) const {
  std::vector<std::shared_ptr<HostedModel>> shadows;
  MutexLock lock(&mutex_);
  for (const auto& [shadow, whose] : shadow_of_) {
    const auto found = models_.find(shadow);
    if (whose == id && found != models_.end()) shadows.push_back(found->second);
  }
  return shadows;
}

std::vector<std::string> Registry::Names() const {
  MutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& [id, model] : models_) names.push_back(id);
  for (const auto& [id, damage] : damaged_) names.push_back(id);
  return names;
}

int Registry::size() const {
  MutexLock lock(&mutex_);
  return static_cast<int>(models_.size() + damaged_.size());
}

std::map<std::string, absl::Status, std::less<>> Registry::Damaged() const {
  MutexLock lock(&mutex_);
  return damaged_;
}

std::vector<std::shared_ptr<HostedModel>> Registry::List(absl::string_view after, int most) const {
  std::vector<std::shared_ptr<HostedModel>> models;
  {
    MutexLock lock(&mutex_);
    for (const auto& [id, model] : models_) {
      if (id > after) models.push_back(model);
    }
  }
  std::sort(models.begin(), models.end(),
            [](const auto& a, const auto& b) { return a->id() < b->id(); });
  if (static_cast<int>(models.size()) > most) models.resize(most);
  return models;
}

}  // namespace lazynorm
