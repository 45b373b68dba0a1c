#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/sqlite_store.h"

namespace lazynorm {
namespace {

absl::Status PrepareTarget(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const bool empty = !error && std::filesystem::is_empty(directory, error);
  if (error) return StoreRefused(absl::StrCat("cannot use ", directory, ": ", error.message()));
  if (empty) return absl::OkStatus();
  return StoreRefused(
      absl::StrCat("the directory ", directory, " is not empty; a backup needs its own"));
}

absl::Status Copy(Database& from, Database& to) {
  sqlite3_backup* backup = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  if (backup == nullptr) return to.Error(sqlite3_extended_errcode(to.handle()), "backup");
  const int copied = sqlite3_backup_step(backup, -1);
  const int finished = sqlite3_backup_finish(backup);
  if (copied == SQLITE_DONE && finished == SQLITE_OK) {
    return to.Execute("PRAGMA journal_mode=DELETE");  // one file, nothing beside it
  }
  return to.Error(finished == SQLITE_OK ? copied : finished, "backup");
}

absl::Status Sync(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (synced) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("syncing ", path, ": ", strerror(error)));
}

// Reads back every row and every snapshot's bytes.
absl::Status Verify(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Database>> db = Database::Open(path, Database::Mode::kReadOnly);
  if (!db.ok()) return db.status();
  Query check(**db, "PRAGMA quick_check");
  if (!check.Next() || check.Bytes(0) != "ok") {
    return absl::DataLossError(absl::StrCat(path, ": SQLite's quick_check finds it damaged"));
  }
  absl::StatusOr<Catalog> catalog = LoadCatalog(**db, nullptr, {});
  if (!catalog.ok()) return catalog.status();
  std::vector<std::string> faults = catalog->warnings;
  for (const auto& [id, model] : catalog->models) {
    for (const std::vector<Manifest>* all : {&model->snapshots, &model->checkpoints}) {
      for (const Manifest& manifest : *all) {
        const absl::StatusOr<std::string> bytes = ReadSnapshot(**db, manifest);
        if (!bytes.ok()) faults.emplace_back(bytes.status().message());
      }
    }
  }
  if (faults.empty()) return absl::OkStatus();
  return ModelDamaged(absl::StrCat("the backup has ", faults.size(), " faults: ", faults.front()));
}

// Without a file, and so without what is to be known of it.
absl::Status ForgetFile(Database& copy) {
  return copy.Execute("DELETE FROM store; DELETE FROM trimmed; DELETE FROM torn;");
}

}  // namespace

absl::Status SqliteStore::CopyRows(const Entry& model, Database& copy) const {
  const auto has = [&copy](absl::string_view sql, int64_t key) -> absl::StatusOr<bool> {
    Query query(copy, sql, key);
    const bool there = query.Next();
    if (!query.status().ok()) return query.status();
    return there;
  };
  absl::StatusOr<bool> there = has("SELECT 1 FROM model WHERE model_id = ?", model->model_id);
  std::deque<RowPlace> rows;
  {
    MutexLock lock(&mutex_);
    rows = model->rows;
  }
  for (const RowPlace& row : rows) {
    if (!there.ok() || !*there) return there.status();
    if (!row.place.in_file()) {
      // What came into the database after it was copied is not there, nor may what is behind it be.
      there = has("SELECT 1 FROM journal WHERE seq = ?", row.seq);
      continue;
    }
    const absl::StatusOr<JournalRow> read = journal_->Read(row.place, row.seq);
    if (!read.ok()) return read.status();
    absl::Status status = InsertRow(copy, model->model_id, *read);
    if (!status.ok()) return status;
  }
  return there.status();
}

// The models as they are when the copy is made: nothing of them may go before it is complete.
absl::Status SqliteStore::CopyAll(Database& db, Database& copy) const {
  const Reading before(this, Entries());
  // What a chore had already taken of them has gone behind this.
  absl::Status status = committer_.SubmitAndWait({});
  if (status.ok()) status = db.Run("BEGIN");
  if (status.ok()) status = db.Run("SELECT 1 FROM model");  // from here on it stands still
  const Reading after(this, Entries());
  if (status.ok()) status = Copy(db, copy);
  const absl::Status ended = db.Run("COMMIT");
  if (status.ok()) status = ended;
  std::set<Entry> models(before.models().begin(), before.models().end());
  models.insert(after.models().begin(), after.models().end());
  if (!status.ok()) return status;
  return copy.Transaction([&] {
    absl::Status copied = ForgetFile(copy);
    for (const Entry& model : models) {
      if (copied.ok()) copied = CopyRows(model, copy);
    }
    return copied;
  });
}

absl::Status SqliteStore::Backup(const std::string& directory) const {
  absl::Status status = PrepareTarget(directory);
  if (!status.ok()) return status;
  const std::string partial = absl::StrCat(directory, "/lazynorm.db.partial");
  status = RunRead([&](Database& db) -> absl::Status {
    absl::StatusOr<std::unique_ptr<Database>> copy =
        Database::Open(partial, Database::Mode::kReadWrite);
    const absl::Status copied = copy.ok() ? CopyAll(db, **copy) : copy.status();
    // A target that fails is not the store's failure.
    return copied.ok() ? copied : absl::Status(absl::StatusCode::kInternal, copied.message());
  });
  if (status.ok()) status = Sync(partial);
  if (status.ok()) status = Verify(partial);
  if (!status.ok()) return status;
  if (rename(partial.c_str(), absl::StrCat(directory, "/lazynorm.db").c_str()) != 0) {
    return absl::InternalError(absl::StrCat("renaming ", partial, ": ", strerror(errno)));
  }
  return SyncFolder(directory);
}

absl::Status SqliteStore::Restore(const std::string& path, const std::string& directory) {
  namespace fs = std::filesystem;
  const std::string folder = fs::path(path).parent_path(), from = directory + "/lazynorm.db";
  std::error_code error;
  if (!fs::exists(from, error)) {
    return StoreRefused(
        absl::StrCat("there is no backup in ", directory, ": ", from, " is missing"));
  }
  // Another database's log, beside this one, would be taken for its own.
  for (const std::string& left :
       {path, path + "-wal", folder + "/lazynorm.marks", folder + "/lazynorm.journal"}) {
    if (!fs::exists(left, error)) continue;
    return StoreRefused(absl::StrCat(left,
                                     " exists already; a backup is restored into an empty "
                                     "data directory only"));
  }
  fs::create_directories(folder, error);
  const absl::StatusOr<std::unique_ptr<DirectoryLock>> lock = DirectoryLock::Take(folder);
  if (!lock.ok()) return lock.status();
  const std::string partial = path + ".partial";
  fs::copy_file(from, partial, fs::copy_options::overwrite_existing, error);
  if (error) return StoreRefused(absl::StrCat("copying ", from, ": ", error.message()));
  absl::Status status = Verify(partial);
  if (status.ok()) status = Sync(partial);
  if (!status.ok()) return status;
  fs::rename(partial, path, error);
  if (error) return StoreRefused(absl::StrCat("renaming ", partial, ": ", error.message()));
  return SyncFolder(folder);
}

}  // namespace lazynorm
