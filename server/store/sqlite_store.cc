#include "server/store/sqlite_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <future>
#include <random>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/sqlite_journal.h"
#include "server/store/sqlite_schema.h"

namespace lazynorm {
namespace {

std::string FolderOf(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

absl::Status MakeFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return StoreRefused(
      absl::StrCat("cannot create the data directory ", folder, ": ", error.message()));
}

// What a killed process has left may be in the system's memory alone. It is believed from here on,
// and each of the files by the others, so the disk must have it first.
absl::Status SyncWhatWasLeft(const std::string& path, const std::string& journal) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::OkStatus();  // a new store
  for (const std::string& name : {path, path + "-wal", journal}) {
    if (!std::filesystem::exists(name, error)) continue;
    const absl::StatusOr<std::unique_ptr<DiskFile>> file = DiskFile::Open(name);
    if (!file.ok()) return file.status();
    absl::Status status = (*file)->Sync();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Chunks whose manifest was never written: the process ended in between.
absl::Status RemoveOrphans(Database& db) {
  constexpr char kFew[] =
      "DELETE FROM snapshot_chunk WHERE chunk_id IN (SELECT chunk_id FROM snapshot_chunk WHERE "
      "chunk_id >> 20 NOT IN (SELECT snapshot_id FROM snapshot) LIMIT 64)";
  absl::Status status;
  do {
    status = db.Run(kFew);
  } while (status.ok() && sqlite3_changes(db.handle()) > 0);
  // A disk that is full when the process starts must not keep it from predicting.
  return absl::IsResourceExhausted(status) ? absl::OkStatus() : status;
}

// Marks that are not kept up would accuse a model that is well.
absl::StatusOr<std::unique_ptr<Marks>> OpenMarks(const std::string& path, Durability durability,
                                                 std::vector<std::string>* warnings) {
  if (durability == Durability::kFsync) return Marks::Open(path, warnings);
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return StoreFailed(absl::StrCat("cannot remove ", path));
  return nullptr;
}

bool RemoveCheckpoint(ModelEntry& model, int64_t id) {
  const auto it = std::find_if(model.checkpoints.begin(), model.checkpoints.end(),
                               [id](const Manifest& m) { return m.id == id; });
  if (it == model.checkpoints.end()) return false;
  model.checkpoints.erase(it);
  return true;
}

// Which journal's file is this database's. A new one for a database that has none yet.
absl::StatusOr<int64_t> StoreId(Database& db, const std::string& journal) {
  const auto checksum = [](int64_t id) {
    return static_cast<int64_t>(ContentHash(absl::StrCat("store,", id)));
  };
  std::error_code error;
  {
    Query query(db, "SELECT id, checksum FROM store");
    if (query.Next()) {
      if (query.Int(1) != checksum(query.Int(0))) {
        return StoreRefused(absl::StrCat(db.path(), " is damaged: table store"));
      }
      if (std::filesystem::exists(journal, error)) return query.Int(0);
      return StoreRefused(absl::StrCat(
          journal, " is missing: it has the latest steps of the models in ", db.path(),
          "; put it back, or create an empty file of that name to go on without them"));
    }
    if (!query.status().ok()) return query.status();
  }
  std::random_device random;
  const auto id = static_cast<int64_t>(uint64_t{random()} << 32 | random());
  // The file is there before the database says so.
  const absl::StatusOr<std::unique_ptr<DiskFile>> made = DiskFile::Open(journal);
  if (!made.ok()) return made.status();
  absl::Status status = SyncFolder(FolderOf(journal));
  if (status.ok()) status = db.Run("INSERT INTO store VALUES(?, ?)", id, checksum(id));
  if (!status.ok()) return status;
  return id;
}

absl::StatusOr<std::unique_ptr<JournalFile>> OpenJournal(Database& db, const std::string& path,
                                                         const StoreOptions& options) {
  const absl::StatusOr<int64_t> id = StoreId(db, path);
  if (!id.ok()) return id.status();
  return JournalFile::Open(path, {*id, options.journal_segment_bytes});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> SqliteStore::Open(const std::string& path,
                                                         StoreOptions options) {
  const std::string folder = FolderOf(path), journal_path = folder + "/lazynorm.journal";
  absl::Status status = MakeFolder(folder);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<DirectoryLock>> lock = DirectoryLock::Take(folder);
  if (!lock.ok()) return lock.status();
  std::vector<std::string> warnings;
  absl::StatusOr<std::unique_ptr<Marks>> marks =
      OpenMarks(folder + "/lazynorm.marks", options.durability, &warnings);
  if (!marks.ok()) return marks.status();
  status = SyncWhatWasLeft(path, journal_path);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Database>> db = Database::Open(path, Database::Mode::kReadWrite);
  if (!db.ok()) return db.status();
  status = Configure(**db, options.durability);
  if (status.ok()) status = Migrate(**db, Migrations());
  if (status.ok()) status = SyncFolder(folder);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<JournalFile>> journal = OpenJournal(**db, journal_path, options);
  if (!journal.ok()) return journal.status();
  absl::StatusOr<Catalog> catalog =
      LoadCatalog(**db, journal->get(),
                  *marks == nullptr ? std::map<int64_t, Marks::Mark>() : (*marks)->found());
  if (!catalog.ok()) return catalog.status();
  status = RemoveOrphans(**db);
  if (!status.ok()) return status;
  warnings.insert(warnings.end(), catalog->warnings.begin(), catalog->warnings.end());
  for (const std::string& warning : warnings) {
    if (options.hooks.on_warning) options.hooks.on_warning(warning);
  }
  return absl::WrapUnique<Store>(new SqliteStore(path, std::move(options), *std::move(lock),
                                                 *std::move(marks), *std::move(journal),
                                                 *std::move(db), *std::move(catalog)));
}

SqliteStore::SqliteStore(std::string path, StoreOptions options,
                         std::unique_ptr<DirectoryLock> lock, std::unique_ptr<Marks> marks,
                         std::unique_ptr<JournalFile> journal, std::unique_ptr<Database> writer,
                         Catalog catalog)
    : path_(std::move(path)),
      options_(std::move(options)),
      lock_(std::move(lock)),
      marks_(std::move(marks)),
      journal_(std::move(journal)),
      // What is not synced frame by frame could be lost from the middle.
      appends_to_file_(options_.durability == Durability::kFsync && !catalog.journal_full),
      readers_(path_),
      last_seq_(catalog.last_seq),
      last_snapshot_id_(catalog.last_snapshot_id),
      last_model_id_(catalog.last_model_id),
      committer_(std::move(writer), appends_to_file_ ? journal_.get() : nullptr,
                 options_.checkpoint_pages, options_.hooks,
                 [this](const std::vector<const Write*>& writes) { Kept(writes); }) {
  for (auto& [id, entry] : catalog.models) {
    {
      MutexLock lock(&mutex_);
      if (!entry->deleted && !models_.emplace(entry->name, entry).second) {
        entry->name = absl::StrCat(entry->name, "?", id);  // two of a name: one is damaged
        models_.emplace(entry->name, entry);
      }
    }
    Tidy(entry);
  }
}

SqliteStore::~SqliteStore() = default;

absl::StatusOr<SqliteStore::Entry> SqliteStore::Find(absl::string_view model) const {
  const auto found = models_.find(std::string(model));
  if (found == models_.end()) return NoSuchModel(model);
  return found->second;
}

absl::StatusOr<SqliteStore::Entry> SqliteStore::FindSound(absl::string_view model) const {
  MutexLock lock(&mutex_);
  absl::StatusOr<Entry> found = Find(model);
  if (found.ok() && !(*found)->damage.ok()) return (*found)->damage;
  return found;
}

absl::StatusOr<Manifest> SqliteStore::FindCheckpoint(absl::string_view model,
                                                     absl::string_view id) const {
  const absl::StatusOr<Entry> entry = Find(model);
  if (!entry.ok()) return entry.status();
  for (const Manifest& manifest : (*entry)->checkpoints) {
    if (absl::StrCat(manifest.id) == id) return manifest;
  }
  int64_t number = 0;
  if (absl::SimpleAtoi(id, &number)) {
    const auto damaged = (*entry)->damaged_manifests.find(number);
    if (damaged != (*entry)->damaged_manifests.end()) return ModelDamaged(damaged->second);
  }
  return NoSuchCheckpoint(model, id);
}

absl::StatusOr<std::vector<StoredModel>> SqliteStore::Models() const {
  MutexLock lock(&mutex_);
  std::vector<StoredModel> models;
  for (const auto& [name, entry] : models_) models.push_back({name, entry->damage});
  return models;
}

absl::StatusOr<SqliteStore::Entry> SqliteStore::BeginCreate(absl::string_view model) {
  auto entry = std::make_shared<ModelEntry>();
  entry->name = std::string(model);
  entry->lineage = std::make_shared<Lineage>();
  MutexLock lock(&mutex_);
  if (models_.count(entry->name) > 0 || !creating_.insert(entry->name).second) {
    return ModelExists(model);
  }
  entry->model_id = ++last_model_id_;
  return entry;
}

void SqliteStore::Created(const Entry& entry, bool kept) {
  MutexLock lock(&mutex_);
  if (kept) models_[entry->name] = entry;
  creating_.erase(entry->name);
}

absl::StatusOr<std::unique_ptr<Journal>> SqliteStore::Create(absl::string_view model,
                                                             Record creation) {
  const absl::StatusOr<Entry> entry = BeginCreate(model);
  if (!entry.ok()) return entry.status();
  auto journal = std::make_unique<SqliteJournal>(this, *entry, (*entry)->lineage,
                                                 Position{0, 0, FirstChain(model)});
  Write write;
  write.apply = [entry = *entry](Database& db) { return InsertModel(db, *entry); };
  std::vector<Record> records;
  records.push_back(std::move(creation));
  const absl::Status status = journal->AppendAndWait(std::move(records), std::move(write));
  Created(*entry, status.ok());
  if (!status.ok()) return status;
  return journal;
}

absl::StatusOr<std::unique_ptr<Journal>> SqliteStore::CreateAt(absl::string_view model,
                                                               Snapshot base) {
  const absl::StatusOr<Entry> entry = BeginCreate(model);
  if (!entry.ok()) return entry.status();
  base.at.seq = ++last_seq_;
  const Position at = base.at;
  std::promise<absl::Status> heard;
  Manifest manifest = ManifestOf((*entry)->model_id, base);
  WriteSnapshot(
      *entry, (*entry)->lineage, std::move(manifest), std::move(base.bytes),
      [&](const absl::StatusOr<Manifest>& kept) { heard.set_value(kept.status()); }, true);
  const absl::Status status = heard.get_future().get();
  Created(*entry, status.ok());
  if (!status.ok()) return status;
  return std::make_unique<SqliteJournal>(this, *entry, (*entry)->lineage, at);
}

absl::StatusOr<std::unique_ptr<Journal>> SqliteStore::Open(absl::string_view model,
                                                           const Reader& reader) {
  Write barrier;
  Entry entry;
  auto lineage = std::make_shared<Lineage>();
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<Entry> found = Find(model);
    if (!found.ok()) return found.status();
    entry = *std::move(found);
    if (!entry->damage.ok()) return entry->damage;
    barrier.ends = std::exchange(entry->lineage, lineage);
  }
  barrier.ends_with = absl::AbortedError(absl::StrCat("model \"", model, "\" was opened again"));
  const absl::Status finished = committer_.SubmitAndWait(std::move(barrier));
  if (!finished.ok()) return finished;
  const absl::StatusOr<Position> end = Read(entry, std::nullopt, reader);
  if (!end.ok()) return end.status();
  return std::make_unique<SqliteJournal>(this, entry, std::move(lineage), *end);
}

absl::Status SqliteStore::ReadAt(absl::string_view model, int64_t step,
                                 const Reader& reader) const {
  const absl::StatusOr<Entry> entry = FindSound(model);
  return entry.ok() ? Read(*entry, step, reader).status() : entry.status();
}

absl::StatusOr<Position> SqliteStore::ReadHistory(absl::string_view model,
                                                  const Reader& reader) const {
  const absl::StatusOr<Entry> entry = FindSound(model);
  if (!entry.ok()) return entry.status();
  return Read(*entry, std::nullopt, reader, ReadModelHistory);
}

absl::StatusOr<Position> SqliteStore::Read(const Entry& entry, std::optional<int64_t> last_step,
                                           const Reader& reader, Way way) const {
  const Reading reading(this, {entry});
  ReadRequest request;
  {
    MutexLock lock(&mutex_);
    if (entry->deleted) return NoSuchModel(entry->name);  // it is going already
    request.journal = journal_.get();
    request.model = *entry;
    request.snapshots_kept = static_cast<size_t>(options_.snapshots_per_model);
    request.last_step = last_step;
  }
  if (marks_ != nullptr) {
    const auto mark = marks_->found().find(entry->model_id);
    if (mark != marks_->found().end()) request.acknowledged = mark->second.end;
  }
  absl::StatusOr<Position> end;
  const absl::Status status = RunRead([&](Database& db) {
    end = way(db, request, reader);
    return end.status();
  });
  if (!status.ok()) return status;
  return end;
}

SqliteStore::Reading::Reading(const SqliteStore* store, std::vector<Entry> models)
    : store_(store), models_(std::move(models)), hold_(*store->journal_) {
  MutexLock lock(&store_->mutex_);
  for (const Entry& model : models_) ++model->readers;
}

SqliteStore::Reading::~Reading() {
  std::vector<Entry> last;
  {
    MutexLock lock(&store_->mutex_);
    for (const Entry& model : models_) {
      if (--model->readers == 0) last.push_back(model);
    }
  }
  for (const Entry& model : last) store_->Tidy(model);
}

std::vector<SqliteStore::Entry> SqliteStore::Entries() const {
  MutexLock lock(&mutex_);
  std::vector<Entry> entries;
  for (const auto& [name, entry] : models_) entries.push_back(entry);
  return entries;
}

absl::Status SqliteStore::RunRead(const std::function<absl::Status(Database&)>& read) const {
  absl::Status failure = committer_.failure();
  if (!failure.ok()) return failure;
  absl::Status status = readers_.Run(read);
  return IsStoreFailed(status) ? committer_.Fail(status.message()) : status;
}

absl::Status SqliteStore::Delete(absl::string_view model) {
  Write write;
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<Entry> found = Find(model);
    if (!found.ok()) return found.status();
    const Entry entry = *std::move(found);
    write.ends = entry->lineage;
    write.apply = [entry](Database& db) { return InsertTombstone(db, *entry); };
    write.committed = [this, entry] {
      {
        MutexLock lock(&mutex_);
        entry->deleted = true;
        models_.erase(entry->name);
        // Whoever opened it meanwhile has another one than `write.ends`.
        if (entry->lineage != nullptr) entry->lineage->broken = NoSuchModel(entry->name);
      }
      Tidy(entry);
    };
  }
  write.ends_with = NoSuchModel(model);
  return committer_.SubmitAndWait(std::move(write));
}

absl::StatusOr<std::vector<CheckpointInfo>> SqliteStore::Checkpoints(
    absl::string_view model) const {
  MutexLock lock(&mutex_);
  const absl::StatusOr<Entry> entry = Find(model);
  if (!entry.ok()) return entry.status();
  std::vector<CheckpointInfo> infos;
  for (const Manifest& m : (*entry)->checkpoints) infos.push_back(ToInfo(m));
  return infos;
}

absl::StatusOr<Snapshot> SqliteStore::ReadCheckpoint(absl::string_view model,
                                                     absl::string_view id) const {
  Entry entry;
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<Entry> found = Find(model);
    if (!found.ok()) return found.status();
    entry = *std::move(found);
  }
  const Reading reading(this, {entry});
  Manifest manifest;
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<Manifest> found = FindCheckpoint(model, id);
    if (!found.ok()) return found.status();
    manifest = *std::move(found);
  }
  Snapshot snapshot = {manifest.at, manifest.numeric_fingerprint, ""};
  const absl::Status status = RunRead([&](Database& db) {
    absl::StatusOr<std::string> bytes = ReadSnapshot(db, manifest);
    if (bytes.ok()) snapshot.bytes = *std::move(bytes);
    return bytes.status();
  });
  if (!status.ok()) return status;
  return snapshot;
}

absl::Status SqliteStore::DeleteCheckpoint(absl::string_view model, absl::string_view id) {
  Write write;
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<Manifest> found = FindCheckpoint(model, id);
    if (!found.ok()) return found.status();
    const Entry entry = *Find(model);
    const Manifest manifest = *std::move(found);
    write.apply = [id = manifest.id](Database& db) {
      return db.Run("DELETE FROM snapshot WHERE snapshot_id = ?", id);
    };
    write.committed = [this, entry, manifest] {
      {
        MutexLock lock(&mutex_);
        if (!RemoveCheckpoint(*entry, manifest.id)) return;  // somebody was faster
        entry->dead.push_back(manifest);
      }
      Tidy(entry);
    };
  }
  return committer_.SubmitAndWait(std::move(write));
}

}  // namespace lazynorm
