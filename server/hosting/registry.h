#ifndef LAZYNORM_SERVER_HOSTING_REGISTRY_H_
#define LAZYNORM_SERVER_HOSTING_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
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
  // Told of every model as it comes and goes, in that order for each id. Must not call back.
  std::function<void(absl::string_view id)> on_created, on_deleted;
};

// The models of this process. Thread-safe.
class Registry {
 public:
  // `metrics` must outlive this.
  Registry(RegistryOptions options, Metrics& metrics);

  // ALREADY_EXISTS (MODEL_EXISTS), RESOURCE_EXHAUSTED (LIMIT_EXCEEDED) beyond max_models, or what
  // Learner::Create refuses. `id` is well-formed.
  absl::StatusOr<std::shared_ptr<HostedModel>> Create(
      const std::string& id, ModelSpec spec, const std::vector<StateTensor>& initial_state);
  // The same for a learner that is there already.
  absl::StatusOr<std::shared_ptr<HostedModel>> Add(const std::string& id,
                                                   std::unique_ptr<Learner> learner);
  // MODEL_NOT_FOUND.
  absl::StatusOr<std::shared_ptr<HostedModel>> Find(absl::string_view id) const;
  absl::Status Delete(absl::string_view id);

  // What `id` would be a shadow of: MODEL_NOT_FOUND; INVALID_UPDATE if that is itself, a shadow, or
  // if `id` has shadows of its own. An empty `of` is always right.
  absl::Status CheckShadow(absl::string_view id, absl::string_view of) const;
  // From now on `id` is a shadow of `of`; of none if that is empty. Add does it for a new model.
  void SetShadow(const std::string& id, const std::string& of);
  // The models that learn from every Train of this one too. A model that is deleted and made again
  // has its shadows again.
  std::vector<std::shared_ptr<HostedModel>> ShadowsOf(absl::string_view id) const;

  // Up to `most` models with an id above `after`, in the order of their ids.
  std::vector<std::shared_ptr<HostedModel>> List(absl::string_view after, int most) const;

 private:
  absl::Status CheckNew(const std::string& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetShadowLocked(const std::string& id, const std::string& of)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RegistryOptions options_;
  Metrics& metrics_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<HostedModel>> models_ ABSL_GUARDED_BY(mutex_);
  // Of each shadow, whose it is: few, if any.
  std::map<std::string, std::string, std::less<>> shadow_of_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_REGISTRY_H_
