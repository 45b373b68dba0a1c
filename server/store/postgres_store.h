#ifndef LAZYNORM_SERVER_STORE_POSTGRES_STORE_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_STORE_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"
#include "server/store/cluster.h"
#include "server/store/manifest.h"
#include "server/store/postgres.h"
#include "server/store/postgres_committer.h"
#include "server/store/postgres_lease.h"
#include "server/store/postgres_reader.h"
#include "server/store/store.h"

namespace lazynorm {

// A Store in the schema `lazynorm` of a PostgreSQL database, shared by any number of replicas. What
// belongs to which model is asked of the database, not kept in memory. A database that cannot be
// reached never ends the process: what needs it answers STORE_FAILED until it is back.
// Connections: one to append, one for the lease, up to four for all else. Thread-safe.
class PostgresStore : public Store, public Cluster {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& uri, StoreOptions options);
  ~PostgresStore() override;

  absl::StatusOr<std::vector<StoredModel>> Models() const override;
  absl::StatusOr<std::unique_ptr<Journal>> Create(absl::string_view model,
                                                  Record creation) override;
  absl::StatusOr<std::unique_ptr<Journal>> Open(absl::string_view model,
                                                const Reader& reader) override;
  absl::Status ReadAt(absl::string_view model, int64_t step, const Reader& reader) const override;
  absl::StatusOr<Position> ReadFrom(absl::string_view model, const Position& from,
                                    const Reader& reader) const override;
  absl::StatusOr<Position> ReadHistory(absl::string_view model,
                                       const Reader& reader) const override;
  absl::StatusOr<std::unique_ptr<Journal>> CreateAt(absl::string_view model,
                                                    Snapshot base) override;
  absl::Status Delete(absl::string_view model) override;
  absl::StatusOr<std::vector<CheckpointInfo>> Checkpoints(absl::string_view model) const override;
  absl::StatusOr<Snapshot> ReadCheckpoint(absl::string_view model,
                                          absl::string_view id) const override;
  absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view id) override;
  absl::Status Backup(const std::string& directory) const override;

  Cluster* cluster() override { return this; }
  int64_t self() const override { return lease_->id(); }
  const std::string& secret() const override { return secret_; }
  absl::StatusOr<std::vector<Replica>> Replicas() override;
  absl::StatusOr<std::vector<Holding>> Holdings() override;
  absl::Status Release(absl::string_view model, int64_t heir) override;
  void WaitForChange(absl::Duration timeout) override { lease_->WaitForChange(timeout); }

 private:
  friend class PgJournal;

  PostgresStore(PgTarget target, StoreOptions options, std::unique_ptr<PgLease> lease,
                std::string secret);

  // One statement on a connection of the pool.
  absl::StatusOr<PgRows> Run(const std::string& sql, const std::vector<PgParam>& params = {}) const;
  // This replica's id; STORE_FAILED while it is cut off.
  absl::StatusOr<int64_t> Self() const;
  // The model's id, its checksum and its holder, with its row's lock; no row if there is none.
  absl::StatusOr<PgRows> Lock(Pg& pg, absl::string_view model) const;
  // Makes this replica the holder, if nobody else who lives is it. In a transaction of `pg`.
  absl::StatusOr<PgModel> Take(Pg& pg, absl::string_view model, int64_t self) const;
  // What is appended behind this, by journals that there are, fails with `why`.
  void End(absl::string_view model, const absl::Status& why);
  std::shared_ptr<Tenure> Begin(const PgModel& model, int64_t self);

  // In a chore: writes a snapshot, in chunks, and its manifest once all before it is durable.
  void WriteSnapshot(std::shared_ptr<Tenure> tenure, Manifest manifest, std::string bytes,
                     absl::AnyInvocable<void(absl::StatusOr<Manifest>)> done);
  absl::Status WriteChunks(const Manifest& manifest, const std::string& bytes) const;
  // Gives a new snapshot its id and number of chunks.
  absl::Status Number(Manifest* manifest) const;
  // Little by little: a model's surplus snapshots and records; a deleted model.
  void Tidy(int64_t model_id) const;
  void Purge(int64_t model_id) const;
  void PurgeAll();
  absl::Status RemoveChunks(int64_t model_id, int64_t snapshot_id) const;
  // Repeats `sql` until it touches nothing, or the store closes.
  absl::Status Repeat(const std::string& sql, const std::vector<PgParam>& params) const;
  void Warn(absl::string_view what, const absl::Status& status) const;

  const StoreOptions options_;
  const std::unique_ptr<PgLease> lease_;
  const std::string secret_;
  mutable PgPool pool_;
  const PgReader reader_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Tenure>, std::less<>> tenures_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> closing_ = false;
  PgCommitter committer_;
  Executor chores_{1};  // last: it uses all of the above
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_STORE_H_
