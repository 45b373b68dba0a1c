#ifndef LAZYNORM_SERVER_HOSTING_REGISTRY_H_
#define LAZYNORM_SERVER_HOSTING_REGISTRY_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/learner.h"
#include "server/base/mutex.h"
#include "server/hosting/hosted_model.h"
#include "server/metrics/metrics.h"

namespace lazynorm {

struct RegistryOptions {
  int max_models = 1000;
  Limits limits;
  HostingOptions hosting;
  // Told of every model as it comes and goes, in that order for each id; `serving` is false for one
  // that is damaged. Must not call back.
  std::function<void(absl::string_view id, bool serving)> on_created;
  std::function<void(absl::string_view id)> on_deleted;
};

// The models of this process. Thread-safe.
class Registry {
 public:
  // `metrics` must outlive this.
  Registry(RegistryOptions options, Metrics& metrics);

  // Brings back all models that the store has, several at once. A damaged one is told of, and then
  // answers DATA_LOSS (MODEL_DAMAGED) until it is deleted; if `strict`, it is the error of this.
  // Where several replicas share the store, all are followed at first.
  absl::Status Recover(bool strict);

  // ALREADY_EXISTS (MODEL_EXISTS), RESOURCE_EXHAUSTED (LIMIT_EXCEEDED) beyond max_models, or what
  // Learner::Create or the store refuses. `id` is well-formed. Blocks until the model is durable.
  absl::StatusOr<std::shared_ptr<HostedModel>> Create(
      const std::string& id, ModelSpec spec, const std::vector<StateTensor>& initial_state);
  // The same for a learner that is there already.
  absl::StatusOr<std::shared_ptr<HostedModel>> Add(const std::string& id,
                                                   std::unique_ptr<Learner> learner);
  // MODEL_NOT_FOUND, MODEL_DAMAGED.
  absl::StatusOr<std::shared_ptr<HostedModel>> Find(absl::string_view id) const;
  // With all that the store has of it. Blocks until that is durable.
  absl::Status Delete(absl::string_view id);
  // Begins to follow a model that another replica has made; one that is here already is left alone.
  // What DurableModel::Follow answers. Blocks.
  absl::Status Follow(const std::string& id);
  // Lets go of a model that another replica has deleted.
  void Forget(absl::string_view id);

  // What `id` would be a shadow of: MODEL_NOT_FOUND; INVALID_UPDATE if that is itself, a shadow, or
  // if `id` has shadows of its own. An empty `of` is always right.
  absl::Status CheckShadow(absl::string_view id, absl::string_view of) const;
  // From now on `id` is a shadow of `of`; of none if that is empty. Add does it for a new model.
  void SetShadow(const std::string& id, const std::string& of);
  // The models that learn from every Train of this one too. A model that is deleted and made again
  // has its shadows again.
  std::vector<std::shared_ptr<HostedModel>> ShadowsOf(absl::string_view id) const;

  // Up to `most` models with an id above `after`, in the order of their ids. No damaged ones.
  std::vector<std::shared_ptr<HostedModel>> List(absl::string_view after, int most) const;

  // All ids, and how many they are: damaged ones too.
  std::vector<std::string> Names() const;
  int size() const;
  // The damaged ones, and what Find says of each.
  std::map<std::string, absl::Status, std::less<>> Damaged() const;

  // The state of a model when it last stood at `step`. Blocks; see Store::ReadAt.
  absl::StatusOr<SavedModel> ReadAt(absl::string_view id, int64_t step) const;
  // Returns when all that was asked of the models is durable and answered.
  void Flush() const;
  Store& store() const { return *options_.hosting.store; }

 private:
  DurableOptions durable() const;
  absl::Status RecoverOne(const StoredModel& stored);
  std::shared_ptr<HostedModel> Host(const std::string& id, std::unique_ptr<DurableModel> model)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckNew(const std::string& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetShadowLocked(const std::string& id, const std::string& of)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RegistryOptions options_;
  Metrics& metrics_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<HostedModel>> models_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> coming_ ABSL_GUARDED_BY(mutex_);  // being made
  std::map<std::string, absl::Status, std::less<>> damaged_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int> count_ = 0;  // of models_, for all of them
  // Of each shadow, whose it is: few, if any.
  std::map<std::string, std::string, std::less<>> shadow_of_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_REGISTRY_H_
