#ifndef LAZYNORM_SERVER_STORE_COMMITTER_H_
#define LAZYNORM_SERVER_STORE_COMMITTER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/base/mutex.h"
#include "server/store/journal_file.h"
#include "server/store/sqlite.h"
#include "server/store/store.h"

namespace lazynorm {

struct ModelEntry;

// The records that one Journal appends. Once one of them is not kept, none behind it is. Read and
// written by the committer thread alone.
struct Lineage {
  absl::Status broken;
};

// The records that one write appends to a model.
struct ModelRows {
  int64_t model_id = 0;
  std::vector<JournalRow> rows;
  std::vector<Place> places;  // once they are kept: of each, or empty: they are in the database
};

// A change that joins a group commit.
struct Write {
  // Whose it is: not done, and refused, if that is broken. Null for none.
  std::shared_ptr<Lineage> lineage;
  // Broken behind this write, with this status, whatever becomes of it. Null for none.
  std::shared_ptr<Lineage> ends;
  absl::Status ends_with;
  // What goes into the journal; for it, whose it is. May be empty.
  ModelRows rows;
  std::shared_ptr<ModelEntry> model;
  // What else is done within the group's transaction, on the writing connection. May be empty.
  absl::AnyInvocable<absl::Status(Database&)> apply;
  // Once it is durable, before `done`. May be empty.
  absl::AnyInvocable<void()> committed;
  Done done;
};

// Work that may take its time: one short transaction a call, between group commits. False: over.
using Chore = absl::AnyInvocable<absl::StatusOr<bool>(Database&)>;

// The one thread that writes, on the one connection that writes and checkpoints: SQLite 3.7.0 to
// 3.51.2 can corrupt a database whose write-ahead log two connections reset at the same instant.
// All writes that wait are one group commit: a frame of the journal's file if they only append
// records, else a transaction of the database. Then one piece of one chore; and so on. Thread-safe.
class Committer {
 public:
  // `journal` null: all goes into the database. `rows_kept` hears, before those who wait do, which
  // writes with rows have become durable.
  using RowsKept = std::function<void(const std::vector<const Write*>&)>;
  Committer(std::unique_ptr<Database> database, JournalFile* journal, int checkpoint_pages,
            StoreHooks hooks, RowsKept rows_kept);
  // Commits what waits, drops the chores, checkpoints.
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  void Submit(Write write);
  // Blocks until it is durable. Not on the committer thread.
  absl::Status SubmitAndWait(Write write);
  // Chores are done one after the other. What `chore` answers is taken as a failed write is: no
  // space ends the chore, anything else the store. A chore that must tell its end does so itself;
  // `dropped` is called instead when it never gets there.
  void Submit(Chore chore, absl::AnyInvocable<void(absl::Status)> dropped);
  // OK, or the STORE_FAILED that ended the store.
  absl::Status failure() const;
  // Ends the store: somebody else met an error that only a new start can mend. Returns failure().
  absl::Status Fail(absl::string_view message);

 private:
  struct PendingChore {
    Chore step;
    absl::AnyInvocable<void(absl::Status)> dropped;
  };

  void Loop();
  void CommitGroup(std::vector<Write> group);
  // What each write of the group hears before anything is done: OK for those that take part.
  std::vector<absl::Status> Admit(std::vector<Write>& group);
  absl::Status Apply(std::vector<Write>& group, const std::vector<absl::Status>& admitted);
  absl::Status Change(std::vector<Write>& group, const std::vector<absl::Status>& admitted,
                      const std::vector<ModelRows*>& rows);
  // False: there can be no frame of these.
  bool FillFrame(const std::vector<ModelRows*>& rows);
  absl::Status AppendFrame(const std::vector<ModelRows*>& rows);
  void TellKept(std::vector<Write>& group, const std::vector<absl::Status>& heard);
  void StepChore();
  void DropChores();
  bool CheckpointIsDue() const;
  void Checkpoint(int mode);
  void TellFatal();
  // Any error but STORE_FULL is the end. Returns what callers hear.
  absl::Status Judge(absl::Status status);

  const std::unique_ptr<Database> database_;
  JournalFile* const journal_;
  Frame frame_;  // the committer thread's
  const int checkpoint_pages_;
  const StoreHooks hooks_;
  const RowsKept rows_kept_;
  int wal_pages_ = 0;  // the committer thread's
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Write> writes_ ABSL_GUARDED_BY(mutex_);
  std::deque<PendingChore> chores_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::string fatal_ ABSL_GUARDED_BY(mutex_);  // to be told
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_COMMITTER_H_
