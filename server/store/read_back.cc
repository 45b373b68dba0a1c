#include "server/store/read_back.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {

absl::StatusOr<Position> ReadNewestSnapshot(absl::string_view model,
                                            const std::vector<Manifest>& snapshots,
                                            int64_t last_seq, std::vector<std::string> warnings,
                                            const LoadSnapshot& load, const Reader& reader) {
  Position at = {0, 0, FirstChain(model)};
  for (auto m = snapshots.rbegin(); m != snapshots.rend(); ++m) {
    if (m->at.seq > last_seq) continue;
    absl::StatusOr<std::string> bytes = load(*m);
    if (absl::IsDataLoss(bytes.status())) {
      warnings.push_back(absl::StrCat(bytes.status().message(),
                                      "; an older state is used and the journal from there on"));
      continue;
    }
    if (!bytes.ok()) return bytes.status();
    at = m->at;
    if (!reader.on_snapshot) break;
    absl::Status status = reader.on_snapshot({m->at, m->numeric_fingerprint, *std::move(bytes)});
    if (!status.ok()) return status;
    break;
  }
  for (const std::string& warning : warnings) {
    if (reader.on_warning) reader.on_warning(absl::StrCat("model \"", model, "\": ", warning));
  }
  return at;
}

absl::Status SnapshotDamaged(absl::string_view database, const Manifest& manifest) {
  return ModelDamaged(absl::StrCat(database, ": table snapshot_chunk, snapshot ", manifest.id,
                                   " of step ", manifest.at.step, " (seq ", manifest.at.seq,
                                   "): the digest is wrong"));
}

}  // namespace lazynorm
