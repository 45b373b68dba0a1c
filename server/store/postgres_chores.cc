// What a PostgresStore does beside the group commits, on connections of its own: snapshots come,
// and what is no longer needed goes. Each statement is a short transaction.

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/postgres_journal.h"
#include "server/store/postgres_store.h"

namespace lazynorm {
namespace {

// A bytea of 1 MiB is read in a millisecond, one of 50 MiB in a second.
constexpr int64_t kChunkBytes = 1 << 20;

// Fenced as an append is: whoever takes the model over removes the chunks of unfinished snapshots.
absl::Status InsertManifest(Pg& pg, const Tenure& tenure, const Manifest& m) {
  constexpr char kInsert[] =
      "with f as (select model_id from model where model_id = $2 and epoch = $14 and last_seq >= "
      "$3 "
      "and not deleted for no key update) insert into snapshot(snapshot_id, model_id, seq, step, "
      "chain, chunks, bytes, digest, numeric_fingerprint, is_checkpoint, label, create_time, "
      "checksum) select $1, model_id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 from f "
      "returning pg_notify('lazynorm', '')";
  const absl::StatusOr<PgRows> kept =
      pg.Run(kInsert, {m.id, m.model_id, m.at.seq, m.at.step, static_cast<int64_t>(m.at.chain),
                       m.chunks, m.bytes, PgParam::Bytea(m.digest), m.numeric_fingerprint,
                       PgParam::Bool(m.is_checkpoint), m.label, absl::ToUnixMicros(m.create_time),
                       ManifestChecksum(m), tenure.epoch});
  if (!kept.ok()) return kept.status();
  return kept->empty() ? WhyFenced(pg, tenure) : absl::OkStatus();
}

}  // namespace

void PostgresStore::WriteSnapshot(std::shared_ptr<Tenure> tenure, Manifest manifest,
                                  std::string bytes,
                                  absl::AnyInvocable<void(absl::StatusOr<Manifest>)> done) {
  chores_.Run([this, tenure = std::move(tenure), manifest = std::move(manifest),
               bytes = std::move(bytes), done = std::move(done)]() mutable {
    absl::Status status = Number(&manifest);
    if (status.ok()) {
      status = WriteChunks(manifest, bytes);
      // Behind all that was appended before.
      if (status.ok()) status = committer_.SubmitAndWait({.tenure = tenure});
      if (status.ok())
        status = pool_.Run([&](Pg& pg) { return InsertManifest(pg, *tenure, manifest); });
      if (!status.ok()) RemoveChunks(manifest.model_id, manifest.id).IgnoreError();
    }
    if (!status.ok()) return done(std::move(status));
    const int64_t model_id = manifest.model_id;
    done(std::move(manifest));
    Tidy(model_id);
  });
}

absl::Status PostgresStore::Number(Manifest* manifest) const {
  const absl::StatusOr<PgRows> drawn = Run("select nextval('snapshot_snapshot_id_seq')");
  if (!drawn.ok()) return drawn.status();
  manifest->id = drawn->Int(0, 0);
  manifest->chunks = (manifest->bytes + kChunkBytes - 1) / kChunkBytes;
  return absl::OkStatus();
}

// The model is a deleted one until its snapshot is there: nobody sees the half of it, and should
// this process end, a later start removes it.
absl::StatusOr<std::unique_ptr<Journal>> PostgresStore::CreateAt(absl::string_view model,
                                                                 Snapshot base) {
  const absl::StatusOr<int64_t> self = Self();
  if (!self.ok()) return self.status();
  const absl::StatusOr<PgRows> drawn = Run("select nextval('model_model_id_seq')");
  if (!drawn.ok()) return drawn.status();
  base.at.seq = 1;
  const PgModel created = {drawn->Int(0, 0), std::string(model), 1, base.at};
  Manifest manifest = ManifestOf(created.id, base);
  absl::Status status = Number(&manifest);
  if (!status.ok()) return status;
  const absl::StatusOr<PgRows> begun = Run(
      "insert into model(model_id, name, deleted, checksum, holder, epoch, last_seq, last_step, "
      "last_chain) select $1, $2, true, $3, $4, 1, $5, $6, $7 where not exists(select from model "
      "where name = $2 and not deleted)",
      {created.id, model, ModelChecksum(created.id, model, false), *self, base.at.seq, base.at.step,
       static_cast<int64_t>(base.at.chain)});
  if (!begun.ok()) return begun.status();
  if (begun->touched() == 0) return ModelExists(model);
  status = WriteChunks(manifest, base.bytes);
  if (!status.ok()) return status;
  const auto tenure = Begin(created, *self);
  status = pool_.Run([&](Pg& pg) {
    return pg.Transaction([&] {
      const absl::StatusOr<PgRows> revealed = pg.Run(
          "update model set deleted = false where model_id = $1 and $3 = (select count(*) from "
          "snapshot_chunk where model_id = $1 and snapshot_id = $2)",
          {created.id, manifest.id, manifest.chunks});
      if (!revealed.ok()) return revealed.status();
      return InsertManifest(pg, *tenure, manifest);
    });
  });
  if (!status.ok()) return status;
  return std::make_unique<PgJournal>(this, tenure, base.at);
}

absl::Status PostgresStore::WriteChunks(const Manifest& manifest, const std::string& bytes) const {
  for (int64_t no = 0; no < manifest.chunks; ++no) {
    if (closing_) return absl::CancelledError("the store was closed");
    const absl::string_view chunk =
        absl::string_view(bytes).substr(static_cast<size_t>(no * kChunkBytes), kChunkBytes);
    const absl::Status status =
        Run("insert into snapshot_chunk(model_id, snapshot_id, no, data) values($1, $2, $3, $4)",
            {manifest.model_id, manifest.id, no, PgParam::Bytea(chunk)})
            .status();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::Repeat(const std::string& sql,
                                   const std::vector<PgParam>& params) const {
  while (!closing_) {
    const absl::StatusOr<PgRows> rows = Run(sql, params);
    if (!rows.ok()) return rows.status();
    if (rows->touched() == 0) break;
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::RemoveChunks(int64_t model_id, int64_t snapshot_id) const {
  return Repeat(
      "delete from snapshot_chunk where ctid = any(array(select ctid from snapshot_chunk where "
      "model_id = $1 and snapshot_id = $2 limit 16 for update skip locked))",
      {model_id, snapshot_id});
}

// The manifest goes first: without it, its chunks are nothing. The journal goes up to the oldest
// snapshot that stays, oldest first: by that a reader tells what was trimmed from what was lost.
void PostgresStore::Tidy(int64_t model_id) const {
  const absl::StatusOr<PgRows> surplus = Run(
      "with s as (select snapshot_id, row_number() over (partition by is_checkpoint order by "
      "snapshot_id desc) as place, case when is_checkpoint then $3 else $2 end as most from "
      "snapshot where model_id = $1) delete from snapshot where snapshot_id in (select "
      "snapshot_id from s where most > 0 and place > most) returning snapshot_id",
      {model_id, int64_t{options_.snapshots_per_model}, int64_t{options_.checkpoints_per_model}});
  absl::Status status = surplus.status();
  for (int i = 0; status.ok() && i < surplus->size(); ++i) {
    status = RemoveChunks(model_id, surplus->Int(i, 0));
  }
  if (status.ok()) {
    status = Repeat(
        "delete from journal where ctid = any(array(select ctid from journal where model_id = $1 "
        "and seq <= (select min(seq) from (select seq from snapshot where model_id = $1 and not "
        "is_checkpoint order by snapshot_id desc limit $2) s having count(*) = $2) order by seq "
        "limit 500 for update skip locked))",
        {model_id, int64_t{options_.snapshots_per_model}});
  }
  if (!status.ok()) Warn("tidying up", status);
}

void PostgresStore::Purge(int64_t model_id) const {
  absl::Status status;
  for (const char* const table : {"journal", "snapshot_chunk", "snapshot", "model"}) {
    if (!status.ok() || closing_) break;
    status = Repeat(absl::StrCat("delete from ", table, " where ctid = any(array(select ctid from ",
                                 table, " where model_id = $1 limit 500 for update skip locked))"),
                    {model_id});
  }
  if (!status.ok()) Warn("removing a deleted model", status);
}

void PostgresStore::PurgeAll() {
  // The list is made now: what CreateAt begins later is not on it.
  const absl::StatusOr<PgRows> rows = Run("select model_id from model where deleted");
  if (!rows.ok()) return Warn("removing deleted models", rows.status());
  for (int i = 0; i < rows->size(); ++i) {
    chores_.Run([this, id = rows->Int(i, 0)] { Purge(id); });
  }
}

void PostgresStore::Warn(absl::string_view what, const absl::Status& status) const {
  if (closing_ || !options_.hooks.on_warning) return;
  options_.hooks.on_warning(absl::StrCat(what, ": ", status.message()));
}

}  // namespace lazynorm
