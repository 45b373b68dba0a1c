// How a replica becomes the one that writes a model.
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/postgres_store.h"

namespace lazynorm {

// A lock that is not free now may be that of a process that was stopped in the middle of a
// transaction. Its session is ended, as PostgreSQL would a few seconds later: the model's holder is
// dead, and nobody who lives is silent in a transaction for half as long as a lease.
absl::StatusOr<PgRows> PostgresStore::Lock(Pg& pg, absl::string_view model) const {
  const std::string lock =
      "select model_id, checksum, holder from model where name = $1 and not deleted "
      "for no key update";
  absl::StatusOr<PgRows> row = pg.Run(lock + " skip locked", {model});
  if (!row.ok() || !row->empty()) return row;
  const absl::StatusOr<PgRows> ended = pg.Run(
      "select a.pid, pg_terminate_backend(a.pid) from pg_stat_activity a "
      "where a.datname = current_database() and a.usename = current_user "
      "and a.wait_event_type = 'Client' "
      "and a.state_change < clock_timestamp() - $2 * interval '0.5 ms' "
      "and a.pid in (select l.pid from pg_locks l where l.relation = 'model'::regclass and "
      "l.mode in ('RowShareLock', 'RowExclusiveLock')) "
      "and not exists(select from model m join living l on l.id = m.holder "
      "where m.name = $1 and not m.deleted)",
      {model, absl::ToInt64Milliseconds(options_.lease_timeout)});
  if (!ended.ok()) return ended.status();
  for (int i = 0; i < ended->size() && options_.hooks.on_warning; ++i) {
    options_.hooks.on_warning(absl::StrCat("model \"", model, "\": ended session ",
                                           ended->Int(i, 0), " of ", pg.name(),
                                           ", which was silent in a transaction"));
  }
  return pg.Run(lock, {model});
}

// The row's lock is what append and takeover are ordered by. Chunks without a manifest are of a
// snapshot that whoever wrote before can no longer finish.
absl::StatusOr<PgModel> PostgresStore::Take(Pg& pg, absl::string_view model, int64_t self) const {
  const absl::StatusOr<PgRows> row = Lock(pg, model);
  if (!row.ok()) return row.status();
  if (row->empty()) return NoSuchModel(model);
  const int64_t id = row->Int(0, 0), holder = row->Int(0, 2);
  if (row->Int(0, 1) != ModelChecksum(id, model, false)) {
    return ModelDamaged(absl::StrCat("model \"", model, "\" is damaged: ", pg.name(),
                                     ": table model, row ", id, ": the checksum is wrong"));
  }
  const absl::StatusOr<PgRows> alive = pg.Run("select from living where id = $1", {holder});
  if (!alive.ok()) return alive.status();
  if (holder != self && !alive->empty()) return NotHolder(model);
  const absl::StatusOr<PgRows> taken = pg.Run(
      "update model set epoch = epoch + 1, holder = $2, heir = 0 where model_id = $1 "
      "returning epoch, last_seq, last_step, last_chain, pg_notify('lazynorm', '')",
      {id, self});
  if (!taken.ok()) return taken.status();
  const absl::StatusOr<PgRows> removed = pg.Run(
      "delete from snapshot_chunk where model_id = $1 and snapshot_id not in "
      "(select snapshot_id from snapshot where model_id = $1)",
      {id});
  if (!removed.ok()) return removed.status();
  const Position end = {taken->Int(0, 1), taken->Int(0, 2),
                        static_cast<uint64_t>(taken->Int(0, 3))};
  return PgModel{id, std::string(model), taken->Int(0, 0), end};
}

}  // namespace lazynorm
