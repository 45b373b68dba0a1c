#ifndef LAZYNORM_SERVER_STORE_POSTGRES_COMMITTER_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_COMMITTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/store/postgres.h"
#include "server/store/store.h"

namespace lazynorm {

// A replica's time as the writer of a model, from one Open or Create to the next anywhere.
struct Tenure {
  int64_t model_id = 0;
  std::string model;
  int64_t holder = 0;
  int64_t epoch = 0;
  // Once something of it is not kept, nothing behind it is. The committer thread's.
  absl::Status broken;
};

// Why nothing of it is kept any more: NOT_HOLDER, MODEL_NOT_FOUND, or that the database went back.
absl::Status WhyFenced(Pg& pg, const Tenure& tenure);

// What joins a group commit.
struct PgWrite {
  std::shared_ptr<Tenure> tenure;
  std::vector<JournalRow> rows;  // none: a barrier
  // Not OK: the tenure is broken with it behind this write.
  absl::Status ends_with;
  Done done;
};

// The one thread that appends to journals, on a connection of its own: all that waits is one
// statement, which keeps what is of the current epoch of each model and nothing else. An outcome
// that is unknown breaks the tenures of the group; the next group finds a new connection, at most
// one attempt a pause. Thread-safe.
class PgCommitter {
 public:
  // `replica`: this one's id, 0 for none; a tenure of another one is over.
  PgCommitter(PgTarget target, StoreHooks hooks, std::function<int64_t()> replica);
  // Commits what waits.
  ~PgCommitter();
  PgCommitter(const PgCommitter&) = delete;
  PgCommitter& operator=(const PgCommitter&) = delete;

  void Submit(PgWrite write);
  // Blocks until it is durable. Not on the committer thread.
  absl::Status SubmitAndWait(PgWrite write);

 private:
  struct Group;

  void Loop();
  void Commit(std::vector<PgWrite> writes);
  absl::Status Admit(const PgWrite& write) const;
  // Keeps the rows. Writes down which fences did not hold.
  absl::Status Append(Group& group);
  absl::Status AppendPart(Group& group, size_t begin, size_t end);
  absl::Status Connect();

  const PgTarget target_;
  const StoreHooks hooks_;
  const std::function<int64_t()> replica_;
  std::unique_ptr<Pg> pg_;  // the thread's, as all down to next_attempt_
  absl::Status unreachable_;
  absl::Duration pause_;
  absl::Time next_attempt_ = absl::InfinitePast();
  Mutex mutex_;
  CondVar changed_;
  std::vector<PgWrite> writes_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_COMMITTER_H_
