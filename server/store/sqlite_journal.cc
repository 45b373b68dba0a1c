#include "server/store/sqlite_journal.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {

absl::Status SqliteJournal::CheckSizes(const std::vector<Record>& records) const {
  const int64_t most = store_->options_.max_record_bytes;
  for (const Record& record : records) {
    const auto bytes = static_cast<int64_t>(record.payload.size() + record.request_id.size());
    if (bytes > most) return RecordTooLarge(bytes, most);
  }
  return absl::OkStatus();
}

void SqliteJournal::AddTo(std::vector<Record> records, Write& write) {
  write.lineage = lineage_;
  write.model = model_;
  write.rows.model_id = model_->model_id;
  write.rows.rows.reserve(records.size());
  for (Record& record : records) {
    const uint64_t content = ContentHash(record.payload);
    end_ = {++store_->last_seq_, record.step, NextChain(end_.chain, record, content)};
    const uint64_t checksum = RowChecksum(model_->model_id, end_, record, content);
    write.rows.rows.push_back({end_, std::move(record), checksum});
  }
}

Position SqliteJournal::Append(std::vector<Record> records, Done done) {
  Write write;
  const absl::Status sizes = CheckSizes(records);
  if (sizes.ok()) {
    AddTo(std::move(records), write);
    write.done = std::move(done);
  } else {
    write.lineage = write.ends = lineage_;
    write.ends_with = sizes;
    write.done = [done = std::move(done), sizes](absl::Status status) mutable {
      done(status.ok() ? sizes : std::move(status));
    };
  }
  store_->committer_.Submit(std::move(write));
  return end_;
}

absl::Status SqliteJournal::AppendAndWait(std::vector<Record> records, Write with) {
  absl::Status sizes = CheckSizes(records);
  if (!sizes.ok()) return sizes;
  AddTo(std::move(records), with);
  return store_->committer_.SubmitAndWait(std::move(with));
}

Manifest SqliteJournal::ToManifest(const Snapshot& snapshot) const {
  Manifest manifest;
  manifest.model_id = model_->model_id;
  manifest.at = snapshot.at;
  manifest.bytes = static_cast<int64_t>(snapshot.bytes.size());
  manifest.digest = Digest(snapshot.bytes);
  manifest.numeric_fingerprint = snapshot.numeric_fingerprint;
  return manifest;
}

void SqliteJournal::WriteSnapshot(Snapshot snapshot, Done done) {
  Manifest manifest = ToManifest(snapshot);
  store_->WriteSnapshot(
      model_, lineage_, std::move(manifest), std::move(snapshot.bytes),
      [done = std::move(done)](absl::StatusOr<Manifest> kept) mutable { done(kept.status()); });
}

void SqliteJournal::WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                                    absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) {
  Manifest manifest = ToManifest(snapshot);
  manifest.is_checkpoint = true;
  manifest.label = std::move(label);
  manifest.create_time = absl::FromUnixMicros(absl::ToUnixMicros(create_time));  // as it is kept
  store_->WriteSnapshot(model_, lineage_, std::move(manifest), std::move(snapshot.bytes),
                        [done = std::move(done)](absl::StatusOr<Manifest> kept) mutable {
                          if (!kept.ok()) return done(kept.status());
                          done(ToInfo(*kept));
                        });
}

}  // namespace lazynorm
