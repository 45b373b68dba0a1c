#ifndef LAZYNORM_SERVER_STORE_POSTGRES_LEASE_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_LEASE_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/store/postgres.h"
#include "server/store/store.h"

namespace lazynorm {

// Says that this replica lives: an advisory lock on a connection of its own, which PostgreSQL ends
// when it hears nothing for the timeout. A replica whose connection is lost is dead; it comes back
// as another one, as soon as the database can be reached. That it lives lets it open models;
// whether it may write is decided by each model's epoch alone. The same connection listens for
// changes. Thread-safe.
class PgLease {
 public:
  // What StoreOptions says of advertise, lease_timeout, hooks.on_warning.
  static absl::StatusOr<std::unique_ptr<PgLease>> Take(PgTarget target,
                                                       const StoreOptions& options);
  // The others see it at once.
  ~PgLease();
  PgLease(const PgLease&) = delete;
  PgLease& operator=(const PgLease&) = delete;

  // The replica's id; 0 while there is none.
  int64_t id() const { return id_.load(); }
  // Blocks until a change was heard of since the last call, or the timeout.
  void WaitForChange(absl::Duration timeout);

 private:
  PgLease(PgTarget target, const StoreOptions& options)
      : target_(std::move(target)), options_(options) {}

  // Connects and becomes a new replica.
  absl::Status Begin();
  absl::Status Register();
  void Loop();
  // Returns when the connection is lost, or to stop.
  void Hold();
  // Tries until it succeeds, or to stop.
  void Return();
  void Changed();
  bool stopping() const;
  void Sleep(absl::Duration time);

  const PgTarget target_;
  const StoreOptions options_;
  std::unique_ptr<Pg> pg_;  // the thread's, once it runs
  std::atomic<int64_t> id_ = 0;
  mutable Mutex mutex_;
  CondVar changed_;
  int64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t heard_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_LEASE_H_
