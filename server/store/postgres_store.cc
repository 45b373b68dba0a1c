#include "server/store/postgres_store.h"

#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/postgres_journal.h"
#include "server/store/postgres_schema.h"

namespace lazynorm {

absl::StatusOr<std::unique_ptr<Store>> PostgresStore::Open(const std::string& uri,
                                                           StoreOptions options) {
  absl::Status status = Pg::CheckUri(uri);
  if (!status.ok()) return status;
  const PgTarget target = {.uri = uri, .durability = options.durability};
  absl::StatusOr<std::string> secret;
  {
    absl::StatusOr<std::unique_ptr<Pg>> pg = Pg::Connect(target);
    if (!pg.ok()) return pg.status();
    status = Migrate(**pg, PgMigrations());
    if (!status.ok()) return status;
    secret = ReadSecret(**pg);
    if (!secret.ok()) return secret.status();
  }
  absl::StatusOr<std::unique_ptr<PgLease>> lease = PgLease::Take(target, options);
  if (!lease.ok()) return lease.status();
  auto store = absl::WrapUnique(
      new PostgresStore(target, std::move(options), *std::move(lease), *std::move(secret)));
  store->PurgeAll();
  return store;
}

PostgresStore::PostgresStore(PgTarget target, StoreOptions options, std::unique_ptr<PgLease> lease,
                             std::string secret)
    : options_(std::move(options)),
      lease_(std::move(lease)),
      secret_(std::move(secret)),
      pool_(target),
      reader_(pool_, options_.snapshots_per_model),
      committer_(target, options_.hooks, [lease = lease_.get()] { return lease->id(); }) {}

PostgresStore::~PostgresStore() {
  closing_ = true;
}

absl::StatusOr<PgRows> PostgresStore::Run(const std::string& sql,
                                          const std::vector<PgParam>& params) const {
  std::optional<PgRows> rows;
  const absl::Status status = pool_.Run([&](Pg& pg) {
    absl::StatusOr<PgRows> answer = pg.Run(sql, params);
    if (answer.ok()) rows = *std::move(answer);
    return answer.status();
  });
  if (!status.ok()) return status;
  return *std::move(rows);
}

absl::StatusOr<int64_t> PostgresStore::Self() const {
  const int64_t id = lease_->id();
  if (id == 0) return CutOff();
  return id;
}

absl::StatusOr<std::vector<StoredModel>> PostgresStore::Models() const {
  const absl::StatusOr<PgRows> rows = Run(
      "select name, model_id, checksum from model where not deleted order by name collate \"C\"");
  if (!rows.ok()) return rows.status();
  std::vector<StoredModel> models;
  for (int i = 0; i < rows->size(); ++i) {
    StoredModel& model = models.emplace_back();
    model.model = std::string(rows->Bytes(i, 0));
    if (rows->Int(i, 2) == ModelChecksum(rows->Int(i, 1), model.model, false)) continue;
    model.damage = ModelDamaged(
        absl::StrCat("PostgreSQL: table model, row ", rows->Int(i, 1), ": the checksum is wrong"));
  }
  return models;
}

void PostgresStore::End(absl::string_view model, const absl::Status& why) {
  PgWrite barrier;
  {
    MutexLock lock(&mutex_);
    const auto found = tenures_.find(std::string(model));
    if (found == tenures_.end()) return;
    barrier.tenure = found->second;
    tenures_.erase(found);
  }
  barrier.ends_with = why;
  // Whether it was broken before does not matter.
  committer_.SubmitAndWait(std::move(barrier)).IgnoreError();
}

std::shared_ptr<Tenure> PostgresStore::Begin(const PgModel& model, int64_t self) {
  auto tenure = std::make_shared<Tenure>();
  tenure->model_id = model.id;
  tenure->model = model.name;
  tenure->holder = self;
  tenure->epoch = model.epoch;
  MutexLock lock(&mutex_);
  tenures_[model.name] = tenure;
  return tenure;
}

absl::StatusOr<std::unique_ptr<Journal>> PostgresStore::Create(absl::string_view model,
                                                               Record creation) {
  constexpr char kCreate[] =
      "with m as (insert into model(model_id, name, checksum, holder, epoch, last_seq, last_step, "
      "last_chain) values($1, $2, $3, $4, 1, 1, $5, $6) on conflict (name) where not deleted do "
      "nothing returning model_id), j as (insert into journal(model_id, seq, step, epoch, kind, "
      "request_id, chain, checksum, payload) select model_id, 1, $5, 1, $7, $8, $6, $9, $10 "
      "from m) select model_id, pg_notify('lazynorm', '') from m";
  const absl::StatusOr<int64_t> self = Self();
  if (!self.ok()) return self.status();
  std::vector<Record> records;
  records.push_back(std::move(creation));
  absl::Status sizes = CheckSizes(records, options_.max_record_bytes);
  if (!sizes.ok()) return sizes;
  const absl::StatusOr<PgRows> drawn = Run("select nextval('model_model_id_seq')");
  if (!drawn.ok()) return drawn.status();
  const int64_t id = drawn->Int(0, 0);
  const JournalRow row = ChainRow(id, {0, 0, FirstChain(model)}, 1, std::move(records.front()));
  const absl::StatusOr<PgRows> made =
      Run(kCreate, {id, model, ModelChecksum(id, model, false), *self, row.at.step,
                    static_cast<int64_t>(row.at.chain), int64_t{row.record.kind},
                    PgParam::Bytea(row.record.request_id), static_cast<int64_t>(row.checksum),
                    PgParam::Bytea(row.record.payload)});
  if (!made.ok()) return made.status();
  if (made->empty()) return ModelExists(model);
  const PgModel created = {id, std::string(model), 1, row.at};
  return std::make_unique<PgJournal>(this, Begin(created, *self), row.at);
}

absl::StatusOr<std::unique_ptr<Journal>> PostgresStore::Open(absl::string_view model,
                                                             const Reader& reader) {
  const absl::StatusOr<int64_t> self = Self();
  if (!self.ok()) return self.status();
  End(model, absl::AbortedError(absl::StrCat("model \"", model, "\" was opened again")));
  absl::StatusOr<PgModel> taken;
  const absl::Status status = pool_.Run([&](Pg& pg) {
    return pg.Transaction([&] {
      taken = Take(pg, model, *self);
      return taken.status();
    });
  });
  if (!status.ok()) return status;
  const absl::StatusOr<Position> end = reader_.ReadToEnd(*taken, reader);
  if (!end.ok()) return end.status();
  return std::make_unique<PgJournal>(this, Begin(*taken, *self), *end);
}

absl::Status PostgresStore::ReadAt(absl::string_view model, int64_t step,
                                   const Reader& reader) const {
  const absl::StatusOr<PgModel> found = reader_.Find(model);
  return found.ok() ? reader_.ReadAt(*found, step, reader) : found.status();
}

absl::StatusOr<Position> PostgresStore::ReadFrom(absl::string_view model, const Position& from,
                                                 const Reader& reader) const {
  const absl::StatusOr<PgModel> found = reader_.Find(model);
  if (!found.ok()) return found.status();
  return reader_.ReadFrom(*found, from, reader);
}

absl::StatusOr<Position> PostgresStore::ReadHistory(absl::string_view model,
                                                    const Reader& reader) const {
  const absl::StatusOr<PgModel> found = reader_.Find(model);
  if (!found.ok()) return found.status();
  return reader_.ReadHistory(*found, reader);
}

absl::Status PostgresStore::Delete(absl::string_view model) {
  const absl::StatusOr<PgRows> row =
      Run("update model set deleted = true, holder = 0, epoch = epoch + 1 where name = $1 and not "
          "deleted returning model_id, pg_notify('lazynorm', '')",
          {model});
  if (!row.ok()) return row.status();
  if (row->empty()) return NoSuchModel(model);
  End(model, NoSuchModel(model));
  const int64_t id = row->Int(0, 0);
  chores_.Run([this, id] { Purge(id); });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CheckpointInfo>> PostgresStore::Checkpoints(
    absl::string_view model) const {
  const absl::StatusOr<PgModel> found = reader_.Find(model);
  if (!found.ok()) return found.status();
  std::vector<std::string> warnings;
  const auto manifests = reader_.Manifests(*found, true, &warnings);
  if (!manifests.ok()) return manifests.status();
  std::vector<CheckpointInfo> infos;
  for (const Manifest& manifest : *manifests) infos.push_back(ToInfo(manifest));
  return infos;
}

absl::StatusOr<Snapshot> PostgresStore::ReadCheckpoint(absl::string_view model,
                                                       absl::string_view id) const {
  const absl::StatusOr<PgModel> found = reader_.Find(model);
  if (!found.ok()) return found.status();
  return reader_.ReadCheckpoint(*found, id);
}

absl::Status PostgresStore::DeleteCheckpoint(absl::string_view model, absl::string_view id) {
  const absl::StatusOr<PgModel> found = reader_.Find(model);
  if (!found.ok()) return found.status();
  int64_t number = 0;
  if (!absl::SimpleAtoi(id, &number)) return NoSuchCheckpoint(model, id);
  const absl::StatusOr<PgRows> row =
      Run("delete from snapshot where snapshot_id = $1 and model_id = $2 and is_checkpoint "
          "returning snapshot_id",
          {number, found->id});
  if (!row.ok()) return row.status();
  if (row->empty()) return NoSuchCheckpoint(model, id);
  chores_.Run([this, model_id = found->id, number] {
    RemoveChunks(model_id, number).IgnoreError();  // whoever opens the model next does it
  });
  return absl::OkStatus();
}

absl::Status PostgresStore::Backup(const std::string&) const {
  return absl::UnimplementedError(
      "a store in PostgreSQL is backed up with PostgreSQL's own tools: pg_dump --schema=lazynorm, "
      "or pg_basebackup with archived WAL");
}

absl::StatusOr<std::vector<Replica>> PostgresStore::Replicas() {
  const absl::StatusOr<PgRows> rows = Run("select id, address from living order by id");
  if (!rows.ok()) return rows.status();
  std::vector<Replica> replicas;
  for (int i = 0; i < rows->size(); ++i) {
    replicas.push_back({rows->Int(i, 0), std::string(rows->Bytes(i, 1))});
  }
  return replicas;
}

absl::StatusOr<std::vector<Holding>> PostgresStore::Holdings() {
  const absl::StatusOr<PgRows> rows =
      Run("select m.name, m.holder, m.epoch, l.id is not null, m.heir, m.last_seq, m.last_step, "
          "m.last_chain from model m left join living l on l.id = m.holder where not m.deleted "
          "order by m.name collate \"C\"");
  if (!rows.ok()) return rows.status();
  std::vector<Holding> holdings;
  for (int i = 0; i < rows->size(); ++i) {
    holdings.push_back(
        {std::string(rows->Bytes(i, 0)),
         rows->Int(i, 1),
         rows->Int(i, 2),
         rows->Int(i, 3) != 0,
         rows->Int(i, 4),
         {rows->Int(i, 5), rows->Int(i, 6), static_cast<uint64_t>(rows->Int(i, 7))}});
  }
  return holdings;
}

absl::Status PostgresStore::Release(absl::string_view model, int64_t heir) {
  const absl::StatusOr<int64_t> self = Self();
  if (!self.ok()) return self.status();
  End(model, NotHolder(model));
  const absl::StatusOr<PgRows> row = Run(
      "update model set holder = 0, heir = $3, epoch = epoch + 1 where name = $1 and not deleted "
      "and holder = $2 returning pg_notify('lazynorm', '')",
      {model, *self, heir});
  if (!row.ok()) return row.status();
  if (!row->empty()) return absl::OkStatus();
  const absl::Status found = reader_.Find(model).status();
  return found.ok() ? NotHolder(model) : found;
}

}  // namespace lazynorm
