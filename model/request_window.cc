#include "model/request_window.h"

#include <algorithm>
#include <cstring>

#include "model/errors.h"
#include "model/random.h"

namespace lazynorm {
namespace {

// Takes a run of 4-byte numbers in, its length first.
uint64_t Absorb(uint64_t hash, const void* numbers, int64_t count) {
  const char* bytes = static_cast<const char*>(numbers);
  hash = Mix(hash ^ static_cast<uint64_t>(count));
  for (int64_t i = 0; i < count; i += 2) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + 4 * i, 4 * std::min<int64_t>(2, count - i));
    hash = Mix(hash ^ word) + 0x9e3779b97f4a7c15u;
  }
  return hash;
}

}  // namespace

uint64_t Fingerprint(const TrainCommand& command) {
  const Batch& batch = command.batch;
  uint64_t hash = Mix(batch.features.rows()) ^ (command.freeze_statistics ? 1 : 0);
  hash = Absorb(hash, batch.features.data(), batch.features.size());
  hash = Absorb(hash, batch.targets.data(), batch.targets.size());
  hash = Absorb(hash, batch.labels.data(), batch.labels.size());
  return Absorb(hash, batch.sample_weights.data(), batch.sample_weights.size());
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
