#include "server/store/sqlite_journal.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {

// Records on their way, and where they will be.
struct SqliteJournal::Batch {
  std::vector<Row> rows;
  std::vector<RowPlace> places;

  absl::Status Insert(Database& db, int64_t model_id) const {
    for (const Row& row : rows) {
      absl::Status status =
          db.Run("INSERT INTO journal VALUES(?, ?, ?, ?, ?, ?, ?, ?)", row.at.seq, model_id,
                 row.at.step, int64_t{row.record.kind}, absl::string_view(row.record.request_id),
                 static_cast<int64_t>(row.at.chain), static_cast<int64_t>(row.checksum),
                 absl::string_view(row.record.payload));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
};

void SqliteJournal::AddTo(std::vector<Record> records, Write& write) {
  write.lineage = lineage_;
  if (records.empty()) return;
  auto batch = std::make_shared<Batch>();
  for (Record& record : records) {
    write.bytes += static_cast<int64_t>(record.payload.size());
    Row row = ChainRow(model_->model_id, end_, ++store_->last_seq_, std::move(record));
    end_ = row.at;
    batch->places.push_back({end_.seq, end_.step});
    batch->rows.push_back(std::move(row));
  }
  write.records = static_cast<int64_t>(batch->rows.size());
  write.apply = [before = std::move(write.apply), batch,
                 id = model_->model_id](Database& db) mutable -> absl::Status {
    absl::Status status = before ? before(db) : absl::OkStatus();
    return status.ok() ? batch->Insert(db, id) : status;
  };
  write.committed = [before = std::move(write.committed), batch, store = store_, model = model_,
                     end = end_]() mutable {
    if (before) before();
    store->Kept(model, batch->places, end);
  };
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
