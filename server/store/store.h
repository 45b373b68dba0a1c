#ifndef LAZYNORM_SERVER_STORE_STORE_H_
#define LAZYNORM_SERVER_STORE_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/store/cluster.h"
#include "server/store/record.h"

namespace lazynorm {

// Hears how something ended: once, on the store's committer thread, in the order in which it was
// asked for along a model. Be brief (the next commit waits); never call what blocks here.
using Done = absl::AnyInvocable<void(absl::Status)>;

// The durable end of one model, for its one writer. What is appended goes, with all that other
// models append meanwhile, into one transaction; the caller may go on with arithmetic.
//
// After anything but OK the journal is *broken*: all that is appended later fails too, so that what
// is kept never has a gap. Destroy it and Open the model again: the store says what it holds.
//   RESOURCE_EXHAUSTED, STORE_FULL: nothing of it was kept.
//   RESOURCE_EXHAUSTED, LIMIT_EXCEEDED: a record is larger than StoreOptions::max_record_bytes.
//   UNAVAILABLE, STORE_FAILED: unknown whether it was kept; a retry must carry the same request_id.
//   NOT_FOUND, MODEL_NOT_FOUND: deleted meanwhile. ABORTED: opened again meanwhile.
//   FAILED_PRECONDITION, NOT_HOLDER: another replica writes the model now; nothing was kept.
// Thread-compatible. Must not outlive its store.
class Journal {
 public:
  virtual ~Journal() = default;

  // Queues records, in order, and returns at once where the model stands behind the last of them.
  // They are durable when `done` hears OK. No records: `done` hears when all before is durable.
  virtual Position Append(std::vector<Record> records, Done done) = 0;

  // Where the model stands behind all that was appended, durable or not.
  virtual Position end() const = 0;

  // Keeps a snapshot, written aside in small pieces between the commits of others. `snapshot.at` is
  // what end() was when its bytes were made; it is never kept before the records up to there. The
  // newest StoreOptions::snapshots_per_model are retained, and the journal is then trimmed up to
  // the oldest of them. A failure (same codes as above) does not break the journal. One at a time
  // for a model, please: bytes wait in memory.
  virtual void WriteSnapshot(Snapshot snapshot, Done done) = 0;

  // The same for a snapshot that the user asked for. Beyond StoreOptions::checkpoints_per_model the
  // oldest goes.
  virtual void WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                               absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) = 0;
};

// What reading a model back calls, in order, on the caller's thread. An error ends the reading.
struct Reader {
  // What the caller has of the model already, where several replicas share the store: Open then
  // reads as ReadFrom does. A store may also read everything.
  Position from = {};
  // At most once, first; of a whole history, any number of times. Without it the model begins with
  // its creation record.
  std::function<absl::Status(const Snapshot&)> on_snapshot;
  // Each record behind the snapshot.
  std::function<absl::Status(const Position&, const Record&)> on_record;
  // What the operator should know though all is well: "... is damaged, the older one is used".
  std::function<void(const std::string&)> on_warning;
};

// A model that the store has.
struct StoredModel {
  std::string model;
  absl::Status damage;  // what is already known to be wrong with it; OK does not promise anything
};

// The models of one data directory or one database, as bytes. One process owns a directory at a
// time; a database may be shared by several, each of which holds some of the models (Cluster).
// Thread-safe.
//
// All that changes something blocks until it is durable, and fails as a Journal does; all that
// reads goes beside the writers. A model that is not as it was written answers DATA_LOSS,
// MODEL_DAMAGED, naming file, table and seq; it can be deleted, and its checkpoints can be read.
// Once STORE_FAILED was reported through StoreHooks::on_fatal, everything answers it.
class Store {
 public:
  virtual ~Store() = default;

  // In the order of their names.
  virtual absl::StatusOr<std::vector<StoredModel>> Models() const = 0;

  // A model and its first record. MODEL_EXISTS.
  virtual absl::StatusOr<std::unique_ptr<Journal>> Create(absl::string_view model,
                                                          Record creation) = 0;

  // Reads back all of a model and returns the journal that continues it. What an earlier Journal of
  // the model has queued is finished first; what it appends later fails. MODEL_NOT_FOUND,
  // MODEL_DAMAGED, or what the reader answers. Where several replicas share the store, this makes
  // this one the model's holder and fences whoever wrote before; NOT_HOLDER (FAILED_PRECONDITION)
  // while another one that is alive holds it.
  virtual absl::StatusOr<std::unique_ptr<Journal>> Open(absl::string_view model,
                                                        const Reader& reader) = 0;

  // Reads back a model as it was when it last stood at `step` (a restored checkpoint takes it back
  // to an earlier one), with all that happened at that step, while it is being written.
  // OUT_OF_RANGE (STEP_NOT_KEPT) if the journal no longer reaches back to it or has not reached it.
  virtual absl::Status ReadAt(absl::string_view model, int64_t step,
                              const Reader& reader) const = 0;

  // Reads what came behind `from`, while another replica writes it: each record; or, where the
  // journal no longer reaches back to `from`, or `from` is none of this model's (as {} is none),
  // the newest snapshot and the records behind it. Sees only what is durable. Returns where it
  // ended. UNIMPLEMENTED where the store has but one process.
  virtual absl::StatusOr<Position> ReadFrom(absl::string_view model, const Position& from,
                                            const Reader& reader) const;

  // Reads all that is kept of a model, to move it elsewhere: each record, and each snapshot in its
  // place among them. The first is the creation record, or the snapshot that the journal reaches
  // back to. Returns where the model stands. ABORTED if some of it is trimmed away meanwhile.
  virtual absl::StatusOr<Position> ReadHistory(absl::string_view model,
                                               const Reader& reader) const = 0;
  // A model that begins with a snapshot in place of its creation record, at that step and chain:
  // one whose beginning another store no longer has. MODEL_EXISTS.
  virtual absl::StatusOr<std::unique_ptr<Journal>> CreateAt(absl::string_view model,
                                                            Snapshot base) = 0;

  // The replicas that share the store; null: this process is the only one. As long-lived as this.
  virtual Cluster* cluster() { return nullptr; }

  // A model with all its data. Its name is free at once; space is given back little by little.
  virtual absl::Status Delete(absl::string_view model) = 0;

  // Oldest first.
  virtual absl::StatusOr<std::vector<CheckpointInfo>> Checkpoints(
      absl::string_view model) const = 0;
  // CHECKPOINT_NOT_FOUND, MODEL_DAMAGED.
  virtual absl::StatusOr<Snapshot> ReadCheckpoint(absl::string_view model,
                                                  absl::string_view id) const = 0;
  virtual absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view id) = 0;

  // A copy of everything, as of one moment, while serving; synced and read back. `directory` must
  // be empty or absent: FAILED_PRECONDITION. UNIMPLEMENTED in memory.
  virtual absl::Status Backup(const std::string& directory) const = 0;
};

// When something counts as kept. In each case it has been handed to the operating system, so that
// none loses anything to a kill -9; they differ in what a power cut or a kernel crash takes.
enum class Durability {
  kFsync,  // synchronous=FULL: on the disk. Loses nothing that was acknowledged.
  kAsync,  // synchronous=NORMAL: loses the latest records (about as much as the kernel had not yet
           // written: half a minute), never one from the middle.
  kNone,   // synchronous=OFF: may damage the whole database. For data that can be had again.
};

// What the store tells its owner; each may be empty. Called on the store's threads.
struct StoreHooks {
  // A group commit: how long, how many records of all models, their payload bytes.
  std::function<void(absl::Duration time, int64_t records, int64_t bytes)> on_commit;
  // For the log.
  std::function<void(const std::string&)> on_warning;
  // The store has failed for good (EIO, read-only disk, corruption): end the process; starting
  // again is the recovery. Called once, after those who waited were answered.
  std::function<void(const std::string&)> on_fatal;
};

struct StoreOptions {
  Durability durability = Durability::kFsync;
  int snapshots_per_model = 2;     // at least 2: should the newest turn out to be damaged
  int checkpoints_per_model = 20;  // 0: all
  int64_t max_record_bytes = int64_t{512} << 20;
  // Of the write-ahead log, before it is moved into the database though writers wait; a quarter of
  // that is moved when none does.
  int checkpoint_pages = 8000;
  // Of the journal's file, the first of its segments.
  int64_t journal_segment_bytes = int64_t{256} << 10;
  // Where several replicas share the store: where the others reach this one, and how long it may
  // be silent before they take it for dead.
  std::string advertise;
  absl::Duration lease_timeout = absl::Seconds(3);
  StoreHooks hooks;
};

// Opens, creating what is missing:
//   sqlite:///DIR/lazynorm.db   one machine; the folder DIR belongs to the store
//   postgresql://...            as libpq reads it; any number of replicas share the database
//   memory:                     tests and throw-away runs
// INVALID_ARGUMENT for another URI; FAILED_PRECONDITION (STORE_FAILED) if another process has it,
// if it was written by a newer version, or is not a store; STORE_FULL; STORE_FAILED.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(absl::string_view uri, StoreOptions options);

// Begins a store with what Backup wrote into `directory`. The same `uri` as for OpenStore, which
// must not have a database yet: FAILED_PRECONDITION.
absl::Status RestoreBackup(absl::string_view uri, const std::string& directory);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_STORE_H_
