#ifndef LAZYNORM_SERVER_STORE_SQLITE_JOURNAL_H_
#define LAZYNORM_SERVER_STORE_SQLITE_JOURNAL_H_

#include <memory>
#include <string>
#include <vector>

#include "server/store/catalog.h"
#include "server/store/sqlite_store.h"
#include "server/store/store.h"

namespace lazynorm {

// The Journal of a SqliteStore: chains and checksums records on the caller's thread.
// Thread-compatible.
class SqliteJournal : public Journal {
 public:
  SqliteJournal(SqliteStore* store, std::shared_ptr<ModelEntry> model,
                std::shared_ptr<Lineage> lineage, Position end)
      : store_(store), model_(std::move(model)), lineage_(std::move(lineage)), end_(end) {}

  Position Append(std::vector<Record> records, Done done) override;
  Position end() const override { return end_; }
  void WriteSnapshot(Snapshot snapshot, Done done) override;
  void WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                       absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) override;

  // Appends within what `with` changes; blocks until durable.
  absl::Status AppendAndWait(std::vector<Record> records, Write with);

 private:
  // Chains the records and makes `write` insert them too.
  void AddTo(std::vector<Record> records, Write& write);

  SqliteStore* const store_;
  const std::shared_ptr<ModelEntry> model_;
  const std::shared_ptr<Lineage> lineage_;
  Position end_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_SQLITE_JOURNAL_H_
