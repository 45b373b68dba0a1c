#include "server/store/read_back.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// Hands out the snapshots of a history, oldest first, as the records come to them.
class SnapshotsInPlace {
 public:
  SnapshotsInPlace(absl::string_view model, const std::vector<Manifest>& snapshots,
                   const LoadSnapshot& load, const Reader& reader)
      : model_(model), snapshots_(snapshots), load_(load), reader_(reader) {}

  // The oldest one that is as it was written: where the history begins.
  absl::StatusOr<Position> First() {
    while (next_ < snapshots_.size()) {
      const Manifest& manifest = snapshots_[next_];
      const absl::StatusOr<bool> given = Give();
      if (!given.ok()) return given.status();
      if (*given) return manifest.at;
    }
    return ModelDamaged(absl::StrCat(
        "model \"", model_, "\" is damaged: it has neither its first record nor a snapshot"));
  }
  absl::Status UpTo(int64_t seq) {
    while (next_ < snapshots_.size() && snapshots_[next_].at.seq <= seq) {
      const absl::StatusOr<bool> given = Give();
      if (!given.ok()) return given.status();
    }
    return absl::OkStatus();
  }

 private:
  // False if it is damaged.
  absl::StatusOr<bool> Give() {
    const Manifest& m = snapshots_[next_++];
    absl::StatusOr<std::string> bytes = load_(m);
    if (absl::IsDataLoss(bytes.status())) {
      const std::string warning = absl::StrCat(bytes.status().message(), "; it is left out");
      if (reader_.on_warning) reader_.on_warning(warning);
      return false;
    }
    if (!bytes.ok()) return bytes.status();
    absl::Status status;
    if (reader_.on_snapshot) {
      status = reader_.on_snapshot({m.at, m.numeric_fingerprint, *std::move(bytes)});
    }
    if (!status.ok()) return status;
    return true;
  }

  const absl::string_view model_;
  const std::vector<Manifest>& snapshots_;
  const LoadSnapshot& load_;
  const Reader& reader_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<Position> ReadWholeHistory(absl::string_view model,
                                          const std::vector<Manifest>& snapshots, bool whole,
                                          const LoadSnapshot& load, const WalkRecords& walk,
                                          const Reader& reader) {
  SnapshotsInPlace in_place(model, snapshots, load, reader);
  absl::StatusOr<Position> at = Position{0, 0, FirstChain(model)};
  if (!whole) at = in_place.First();
  if (!at.ok()) return at;
  // Others may have been taken at the very same place.
  if (absl::Status status = in_place.UpTo(at->seq); !status.ok()) return status;
  Reader records = reader;
  records.on_record = [&](const Position& place, const Record& record) {
    absl::Status status;
    if (reader.on_record) status = reader.on_record(place, record);
    return status.ok() ? in_place.UpTo(place.seq) : status;
  };
  return walk(*at, records);
}

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
