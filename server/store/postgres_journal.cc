#include "server/store/postgres_journal.h"

#include "server/store/errors.h"

namespace lazynorm {

Position PgJournal::Append(std::vector<Record> records, Done done) {
  PgWrite write;
  write.tenure = tenure_;
  write.ends_with = CheckSizes(records, store_->options_.max_record_bytes);
  if (write.ends_with.ok()) {
    for (Record& record : records) {
      write.rows.push_back(ChainRow(tenure_->model_id, end_, end_.seq + 1, std::move(record)));
      end_ = write.rows.back().at;
    }
    write.done = std::move(done);
  } else {
    write.done = [done = std::move(done), sizes = write.ends_with](absl::Status status) mutable {
      done(status.ok() ? sizes : std::move(status));
    };
  }
  store_->committer_.Submit(std::move(write));
  return end_;
}

void PgJournal::WriteSnapshot(Snapshot snapshot, Done done) {
  Manifest manifest = ManifestOf(tenure_->model_id, snapshot);
  store_->WriteSnapshot(
      tenure_, std::move(manifest), std::move(snapshot.bytes),
      [done = std::move(done)](absl::StatusOr<Manifest> kept) mutable { done(kept.status()); });
}

void PgJournal::WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                                absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) {
  Manifest manifest =
      CheckpointManifestOf(tenure_->model_id, snapshot, std::move(label), create_time);
  store_->WriteSnapshot(tenure_, std::move(manifest), std::move(snapshot.bytes),
                        [done = std::move(done)](absl::StatusOr<Manifest> kept) mutable {
                          if (!kept.ok()) return done(kept.status());
                          done(ToInfo(*kept));
                        });
}

}  // namespace lazynorm
