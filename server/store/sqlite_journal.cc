#include "server/store/sqlite_journal.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {

void SqliteJournal::AddTo(std::vector<Record> records, Write& write) {
  write.lineage = lineage_;
  write.model = model_;
  write.rows.model_id = model_->model_id;
  write.rows.rows.reserve(records.size());
  for (Record& record : records) {
    write.rows.rows.push_back(
        ChainRow(model_->model_id, end_, ++store_->last_seq_, std::move(record)));
    end_ = write.rows.rows.back().at;
  }
}

Position SqliteJournal::Append(std::vector<Record> records, Done done) {
  Write write;
  const absl::Status sizes = CheckSizes(records, store_->options_.max_record_bytes);
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
  absl::Status sizes = CheckSizes(records, store_->options_.max_record_bytes);
  if (!sizes.ok()) return sizes;
  AddTo(std::move(records), with);
  return store_->committer_.SubmitAndWait(std::move(with));
}

void SqliteJournal::WriteSnapshot(Snapshot snapshot, Done done) {
  Manifest manifest = ManifestOf(model_->model_id, snapshot);
  store_->WriteSnapshot(
      model_, lineage_, std::move(manifest), std::move(snapshot.bytes),
      [done = std::move(done)](absl::StatusOr<Manifest> kept) mutable { done(kept.status()); });
}

void SqliteJournal::WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                                    absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) {
  Manifest manifest =
      CheckpointManifestOf(model_->model_id, snapshot, std::move(label), create_time);
  store_->WriteSnapshot(model_, lineage_, std::move(manifest), std::move(snapshot.bytes),
                        [done = std::move(done)](absl::StatusOr<Manifest> kept) mutable {
                          if (!kept.ok()) return done(kept.status());
                          done(ToInfo(*kept));
                        });
}

}  // namespace lazynorm
