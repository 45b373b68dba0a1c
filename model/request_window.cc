#include "model/request_window.h"

#include <algorithm>
#include <cstring>

#include "model/errors.h"
#include "model/random.h"

namespace lazynorm {
namespace {

// Takes a run of bytes in, its length first.
uint64_t AbsorbBytes(uint64_t hash, const void* data, int64_t length) {
  const char* bytes = static_cast<const char*>(data);
  hash = Mix(hash ^ static_cast<uint64_t>(length));
  for (int64_t i = 0; i < length; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i, std::min<int64_t>(8, length - i));
    hash = Mix(hash ^ word) + 0x9e3779b97f4a7c15u;
  }
  return hash;
}

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
