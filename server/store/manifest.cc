#include "server/store/manifest.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lazynorm {

Manifest ManifestOf(int64_t model_id, const Snapshot& snapshot) {
  Manifest manifest;
  manifest.model_id = model_id;
  manifest.at = snapshot.at;
  manifest.bytes = static_cast<int64_t>(snapshot.bytes.size());
  manifest.digest = Digest(snapshot.bytes);
  manifest.numeric_fingerprint = snapshot.numeric_fingerprint;
  return manifest;
}

Manifest CheckpointManifestOf(int64_t model_id, const Snapshot& snapshot, std::string label,
                              absl::Time create_time) {
  Manifest manifest = ManifestOf(model_id, snapshot);
  manifest.is_checkpoint = true;
  manifest.label = std::move(label);
  manifest.create_time = absl::FromUnixMicros(absl::ToUnixMicros(create_time));  // as it is kept
  return manifest;
}

CheckpointInfo ToInfo(const Manifest& m) {
  return {absl::StrCat(m.id), m.label, m.at, m.create_time, m.bytes};
}

int64_t ManifestChecksum(const Manifest& m) {
  return static_cast<int64_t>(ContentHash(
      absl::StrCat(m.id, ",", m.model_id, ",", m.at.seq, ",", m.at.step, ",", m.at.chain, ",",
                   m.chunks, ",", m.bytes, ",", m.is_checkpoint ? 1 : 0) +
      absl::StrCat(",", absl::ToUnixMicros(m.create_time), ",", m.digest, ",", m.label.size(), ",",
                   m.label, ",", m.numeric_fingerprint)));
}

int64_t ModelChecksum(int64_t id, absl::string_view name, bool deleted) {
  return static_cast<int64_t>(
      ContentHash(absl::StrCat("model,", id, ",", deleted ? 1 : 0, ",", name)));
}

}  // namespace lazynorm
