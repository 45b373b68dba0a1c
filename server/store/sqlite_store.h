#ifndef LAZYNORM_SERVER_STORE_SQLITE_STORE_H_
#define LAZYNORM_SERVER_STORE_SQLITE_STORE_H_

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/mutex.h"
#include "server/store/catalog.h"
#include "server/store/committer.h"
#include "server/store/directory_lock.h"
#include "server/store/marks.h"
#include "server/store/sqlite_reader.h"
#include "server/store/store.h"

namespace lazynorm {

// A Store in one SQLite database. Beside it: lazynorm.lock, lazynorm.journal, and, if the
// durability is kFsync, lazynorm.marks. Reads all records' checksums when it is opened.
// Thread-safe.
class SqliteStore : public Store {
 public:
  // See RestoreBackup.
  static absl::Status Restore(const std::string& path, const std::string& directory);
  // `path` of the database; its folder is made if it is not there.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path, StoreOptions options);
  ~SqliteStore() override;

  absl::StatusOr<std::vector<StoredModel>> Models() const override;
  absl::StatusOr<std::unique_ptr<Journal>> Create(absl::string_view model,
                                                  Record creation) override;
  absl::StatusOr<std::unique_ptr<Journal>> Open(absl::string_view model,
                                                const Reader& reader) override;
  absl::Status ReadAt(absl::string_view model, int64_t step, const Reader& reader) const override;
  absl::StatusOr<Position> ReadHistory(absl::string_view model,
                                       const Reader& reader) const override;
  absl::StatusOr<std::unique_ptr<Journal>> CreateAt(absl::string_view model,
                                                    Snapshot base) override;
  absl::Status Delete(absl::string_view model) override;
  absl::StatusOr<std::vector<CheckpointInfo>> Checkpoints(absl::string_view model) const override;
  absl::StatusOr<Snapshot> ReadCheckpoint(absl::string_view model,
                                          absl::string_view id) const override;
  absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view id) override;
  absl::Status Backup(const std::string& directory) const override;

 private:
  friend class SqliteJournal;
  using Entry = std::shared_ptr<ModelEntry>;

  SqliteStore(std::string path, StoreOptions options, std::unique_ptr<DirectoryLock> lock,
              std::unique_ptr<Marks> marks, std::unique_ptr<JournalFile> journal,
              std::unique_ptr<Database> writer, Catalog catalog);

  absl::StatusOr<Entry> Find(absl::string_view model) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of one that is known to be damaged, what is wrong with it.
  absl::StatusOr<Entry> FindSound(absl::string_view model) const;
  absl::StatusOr<Manifest> FindCheckpoint(absl::string_view model, absl::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Reads a model back in one of the ways of sqlite_reader.h.
  using Way = absl::StatusOr<Position> (*)(Database&, const ReadRequest&, const Reader&);
  absl::StatusOr<Position> Read(const Entry& entry, std::optional<int64_t> last_step,
                                const Reader& reader, Way way = ReadModel) const;
  // A model to be, under a name that nobody else can take meanwhile; until Created.
  absl::StatusOr<Entry> BeginCreate(absl::string_view model);
  void Created(const Entry& entry, bool kept);
  // Runs `read` on a reader; what only a new start can mend ends the store.
  absl::Status RunRead(const std::function<absl::Status(Database&)>& read) const;
  // Removes what is no longer needed of a model, little by little, in a chore.
  void Tidy(const Entry& entry) const;
  absl::StatusOr<bool> TidyStep(const Entry& entry, Database& db) const;
  // The rows and snapshots to be removed next; nothing if there are none or somebody reads.
  struct Rubbish;
  Rubbish TakeRubbish(ModelEntry& model) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Bury(const Entry& entry, Database& db) const;
  // Moves records within the journal's file, in a chore, where that is worth it.
  struct Compaction;
  void Compact() const;
  absl::StatusOr<bool> CompactStep(Compaction& compaction) const;
  // The row that has that place; null: it is not there any more.
  RowPlace* RowOf(const Compaction& compaction, const FoundRecord& record) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // While this lives, nothing that these models have is taken away.
  class Reading {
   public:
    Reading(const SqliteStore* store, std::vector<Entry> models);
    ~Reading();
    const std::vector<Entry>& models() const { return models_; }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    const SqliteStore* const store_;
    const std::vector<Entry> models_;
    const JournalFile::Hold hold_;
  };
  std::vector<Entry> Entries() const;
  // A copy of the database, with what the journal's file has.
  absl::Status CopyAll(Database& db, Database& copy) const;
  absl::Status CopyRows(const Entry& model, Database& copy) const;
  // The rows of these writes are their models' from now on.
  void Kept(const std::vector<const Write*>& writes);
  // Writes a snapshot in a chore; its manifest goes through the group commit, and with it the row
  // of the model if it begins here.
  void WriteSnapshot(const Entry& entry, std::shared_ptr<Lineage> lineage, Manifest manifest,
                     std::string bytes, absl::AnyInvocable<void(absl::StatusOr<Manifest>)> done,
                     bool begins = false);
  void Kept(const Entry& entry, const Manifest& manifest);

  const std::string path_;
  const StoreOptions options_;
  const std::unique_ptr<DirectoryLock> lock_;
  const std::unique_ptr<Marks> marks_;  // null unless kFsync
  const std::unique_ptr<JournalFile> journal_;
  const bool appends_to_file_;
  mutable bool compacting_ = false;  // the committer thread's
  mutable ReaderPool readers_;
  std::atomic<int64_t> last_seq_;
  std::atomic<int64_t> last_snapshot_id_;

  mutable Mutex mutex_;
  std::map<std::string, Entry, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> creating_ ABSL_GUARDED_BY(mutex_);
  int64_t last_model_id_ ABSL_GUARDED_BY(mutex_);
  mutable Committer committer_;  // last: its thread uses all of the above
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_SQLITE_STORE_H_
