#include "server/store/postgres_lease.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

constexpr absl::Duration kLongestPause = absl::Seconds(1);
// How soon the thread notices that it is to stop.
constexpr absl::Duration kGlance = absl::Milliseconds(50);

}  // namespace

absl::StatusOr<std::unique_ptr<PgLease>> PgLease::Take(PgTarget target,
                                                       const StoreOptions& options) {
  target.silence = options.lease_timeout;
  auto lease = absl::WrapUnique(new PgLease(std::move(target), options));
  absl::Status status = lease->Begin();
  if (!status.ok()) return status;
  lease->thread_ = std::thread([lease = lease.get()] { lease->Loop(); });
  return lease;
}

PgLease::~PgLease() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status PgLease::Begin() {
  absl::StatusOr<std::unique_ptr<Pg>> pg = Pg::Connect(target_);
  if (!pg.ok()) return pg.status();
  pg_ = *std::move(pg);
  absl::Status status = pg_->Execute("listen lazynorm");
  return status.ok() ? pg_->Transaction([this] { return Register(); }) : status;
}

// The row is seen by others only once the lock is held. Rows of the dead that hold nothing go.
absl::Status PgLease::Register() {
  absl::StatusOr<PgRows> row =
      pg_->Run("insert into replica(address) values($1) returning id", {options_.advertise});
  if (!row.ok()) return row.status();
  const int64_t id = row->Int(0, 0);
  const absl::StatusOr<PgRows> locked =
      pg_->Run("select pg_try_advisory_lock('replica'::regclass::oid::integer, $1::integer)", {id});
  if (!locked.ok()) return locked.status();
  if (locked->Int(0, 0) == 0) return StoreFailed("the lock of a new replica is taken");
  row = pg_->Run(
      "delete from replica r where r.id < $1 and not exists(select from living l where l.id = r.id)"
      " and not exists(select from model m where m.holder = r.id and not m.deleted)",
      {id});
  if (!row.ok()) return row.status();
  row = pg_->Run("select pg_notify('lazynorm', '')");
  if (row.ok()) id_ = id;
  return row.status();
}

void PgLease::Loop() {
  while (!stopping()) {
    Hold();
    id_ = 0;
    // A server takes its time to notice that somebody has hung up. Beyond the timeout the others
    // see it anyway.
    if (pg_->usable()) {
      pg_->Run("select pg_advisory_unlock_all()", {}, options_.lease_timeout).IgnoreError();
    }
    pg_ = nullptr;
    Changed();
    if (!stopping()) Return();
  }
}

void PgLease::Hold() {
  const absl::Duration timeout = options_.lease_timeout;
  absl::Time heard = absl::Now();
  while (!stopping()) {
    if (pg_->WaitForNotification(std::min(kGlance, timeout / 3))) Changed();
    if (!pg_->usable()) break;
    if (absl::Now() < heard + timeout / 3) continue;
    const absl::Time asked = absl::Now();
    const absl::Status status = pg_->Run("select 1", {}, heard + timeout - asked).status();
    if (!status.ok()) break;
    heard = asked;
  }
}

void PgLease::Return() {
  absl::Duration pause = absl::Milliseconds(20);
  bool told = false;
  while (!stopping()) {
    const absl::Status status = Begin();
    if (status.ok()) break;
    id_ = 0;
    if (!told && options_.hooks.on_warning) {
      options_.hooks.on_warning(
          absl::StrCat("cut off from the database, and trying to return: ", status.message()));
    }
    told = true;
    Sleep(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
  if (told && !stopping() && options_.hooks.on_warning) {
    options_.hooks.on_warning("back at the database, as a new replica");
  }
  Changed();
}

void PgLease::Sleep(absl::Duration time) {
  const absl::Time until = absl::Now() + time;
  MutexLock lock(&mutex_);
  while (!stopping_ && changed_.WaitUntil(&mutex_, until)) {
  }
}

bool PgLease::stopping() const {
  MutexLock lock(&mutex_);
  return stopping_;
}

void PgLease::Changed() {
  MutexLock lock(&mutex_);
  ++changes_;
  changed_.NotifyAll();
}

void PgLease::WaitForChange(absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (changes_ == heard_ && !stopping_ && changed_.WaitUntil(&mutex_, until)) {
  }
  heard_ = changes_;
}

}  // namespace lazynorm
