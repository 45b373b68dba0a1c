#include "server/hosting/registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"

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

}  // namespace

Registry::Registry(RegistryOptions options, Metrics& metrics)
    : options_(std::move(options)), metrics_(metrics) {}

absl::Status Registry::CheckNew(const std::string& id) const {
  if (models_.contains(id)) {
    return MakeError(absl::StatusCode::kAlreadyExists, "MODEL_EXISTS", "",
                     absl::StrCat("there is a model \"", id, "\" already"));
  }
  if (static_cast<int>(models_.size()) < options_.max_models) return absl::OkStatus();
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

absl::StatusOr<std::shared_ptr<HostedModel>> Registry::Add(const std::string& id,
                                                           std::unique_ptr<Learner> learner) {
  const std::vector<int> layers = BatchNormLayers(learner->spec());
  MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckNew(id));
  auto model =
      HostedModel::Make(id, std::move(learner), metrics_.AddModel(id, layers), options_.hosting);
  models_.emplace(id, model);
  SetShadowLocked(id, model->view()->spec->learning.shadow_of);
  if (options_.on_created) options_.on_created(id);
  spdlog::info("event=model_created model={} models={}", id, models_.size());
  return model;
}

absl::StatusOr<std::shared_ptr<HostedModel>> Registry::Find(absl::string_view id) const {
  MutexLock lock(&mutex_);
  const auto found = models_.find(id);
  if (found == models_.end()) return ModelNotFound(id);
  return found->second;
}

absl::Status Registry::Delete(absl::string_view id) {
  std::shared_ptr<HostedModel> model;
  {
    MutexLock lock(&mutex_);
    const auto found = models_.find(id);
    if (found == models_.end()) return ModelNotFound(id);
    model = std::move(found->second);
    models_.erase(found);
    SetShadowLocked(model->id(), "");
    metrics_.RemoveModel(id);
    if (options_.on_deleted) options_.on_deleted(id);
    spdlog::info("event=model_deleted model={} models={}", model->id(), models_.size());
  }
  model->Delete();
  return absl::OkStatus();
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
