#include "model/request_window.h"

#include "model/errors.h"
#include "model/random.h"

namespace lazynorm {
namespace {

// Takes 4-byte numbers in.
uint64_t Absorb(uint64_t hash, const void* numbers, int64_t count) {
  return AbsorbBytes(hash, numbers, 4 * count);
}

}  // namespace

uint64_t Fingerprint(const TrainCommand& command) {
  const Batch& batch = command.batch;
  uint64_t hash = Mix(batch.features.rows()) ^ (command.freeze_statistics ? 1 : 0);
  hash = Absorb(hash, batch.features.data(), batch.features.size());
  hash = Absorb(hash, batch.targets.data(), batch.targets.size());
  hash = Absorb(hash, batch.labels.data(), batch.labels.size());
  hash = Absorb(hash, batch.sample_weights.data(), batch.sample_weights.size());
  for (absl::string_view id : command.prediction_ids) {
    hash = AbsorbBytes(hash, id.data(), static_cast<int64_t>(id.size()));
  }
  return hash;
}

absl::StatusOr<std::optional<StepResult>> RequestWindow::Find(absl::string_view id,
                                                              uint64_t fingerprint) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return std::optional<StepResult>();
  if (found->second.fingerprint != fingerprint) return RequestIdReused();
  StepResult result = found->second.result;
  result.replayed = true;
  return std::optional<StepResult>(result);
}

void RequestWindow::Insert(absl::string_view id, uint64_t fingerprint, const StepResult& result) {
  if (ids_.size() == kCapacity) {
    entries_.erase(ids_.front());
    ids_.pop_front();
  }
  ids_.emplace_back(id);
  entries_.emplace(ids_.back(), Entry{fingerprint, result});
}

}  // namespace lazynorm
