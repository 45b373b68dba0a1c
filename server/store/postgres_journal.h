#ifndef LAZYNORM_SERVER_STORE_POSTGRES_JOURNAL_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_JOURNAL_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/store/postgres_store.h"
#include "server/store/store.h"

namespace lazynorm {

// The Journal of a PostgresStore: chains and checksums records on the caller's thread, and counts
// them: a model's seq has no gaps. Thread-compatible.
class PgJournal : public Journal {
 public:
  PgJournal(PostgresStore* store, std::shared_ptr<Tenure> tenure, Position end)
      : store_(store), tenure_(std::move(tenure)), end_(end) {}

  Position Append(std::vector<Record> records, Done done) override;
  Position end() const override { return end_; }
  void WriteSnapshot(Snapshot snapshot, Done done) override;
  void WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                       absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) override;

 private:
  PostgresStore* const store_;
  const std::shared_ptr<Tenure> tenure_;
  Position end_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_JOURNAL_H_
