// What a SqliteStore does between group commits: snapshots come, and what is no longer needed goes.

#include <algorithm>
#include <limits>
#include <utility>

#include "server/store/broken.h"
#include "server/store/errors.h"
#include "server/store/sqlite_store.h"

namespace lazynorm {
namespace {

constexpr size_t kChunkBytes = size_t{256} << 10;
constexpr size_t kRowsAtOnce = 500;
constexpr int64_t kChunksAtOnce = 16;

// Writes a chunk a step.
struct SnapshotChore {
  Manifest manifest;
  std::string bytes;

  absl::StatusOr<bool> Step(Database& db) {
    const size_t from = static_cast<size_t>(manifest.chunks) * kChunkBytes;
    if (from >= bytes.size()) return false;
    if (kBroken == Broken::kManifestFirst && from == 0) {
      Manifest whole = manifest;
      whole.chunks = static_cast<int64_t>((bytes.size() + kChunkBytes - 1) / kChunkBytes);
      if (absl::Status status = InsertManifest(db, whole); !status.ok()) return status;
    }
    const absl::string_view chunk = absl::string_view(bytes).substr(from, kChunkBytes);
    absl::Status status = db.Run("INSERT INTO snapshot_chunk VALUES(?, ?)",
                                 ChunkId(manifest.id, manifest.chunks), chunk);
    if (!status.ok()) return status;
    ++manifest.chunks;
    return from + kChunkBytes < bytes.size();
  }
};

}  // namespace

struct SqliteStore::Rubbish {
  std::vector<int64_t> rows;               // of the journal
  int64_t manifest = 0;                    // a snapshot's id
  int64_t first_chunk = 0, end_chunk = 0;  // keys

  bool empty() const { return rows.empty() && manifest == 0 && first_chunk == end_chunk; }

  absl::Status Remove(Database& db, const JournalTable& journal) const {
    return db.Transaction([&] {
      absl::Status status = journal.Remove(db, rows);
      if (status.ok() && manifest != 0) {
        status = db.Run("DELETE FROM snapshot WHERE snapshot_id = ?", manifest);
      }
      if (status.ok() && first_chunk < end_chunk) {
        status = db.Run("DELETE FROM snapshot_chunk WHERE chunk_id >= ? AND chunk_id < ?",
                        first_chunk, end_chunk);
      }
      return status;
    });
  }
};

void SqliteStore::WriteSnapshot(const Entry& entry, std::shared_ptr<Lineage> lineage,
                                Manifest manifest, std::string bytes,
                                absl::AnyInvocable<void(absl::StatusOr<Manifest>)> done,
                                bool begins) {
  auto chore = std::make_shared<SnapshotChore>();
  chore->manifest = std::move(manifest);
  chore->manifest.id = ++last_snapshot_id_;
  chore->bytes = std::move(bytes);
  if (kBroken == Broken::kTrimBeforeSnapshot) Kept(entry, chore->manifest);
  auto answer =
      std::make_shared<absl::AnyInvocable<void(absl::StatusOr<Manifest>)>>(std::move(done));
  auto give_up = [this, entry, chore, answer](absl::Status status) {
    if (chore->manifest.chunks > 0) {
      MutexLock lock(&mutex_);
      entry->dead.push_back(chore->manifest);
    }
    Tidy(entry);
    (*answer)(std::move(status));
  };
  auto finish = [this, entry, lineage = std::move(lineage), chore, answer, give_up, begins] {
    Write write;  // behind all that was appended before: the manifest is the last of it
    write.lineage = lineage;
    write.apply = [chore, entry, begins](Database& db) {
      absl::Status status = begins ? InsertModel(db, *entry) : absl::OkStatus();
      if (!status.ok()) return status;
      if (kBroken == Broken::kManifestFirst) return absl::OkStatus();
      return InsertManifest(db, chore->manifest);
    };
    write.committed = [this, entry, chore] { Kept(entry, chore->manifest); };
    write.done = [chore, answer, give_up](absl::Status status) {
      if (!status.ok()) return give_up(std::move(status));
      (*answer)(chore->manifest);
    };
    committer_.Submit(std::move(write));
  };
  committer_.Submit(
      [chore, finish](Database& db) -> absl::StatusOr<bool> {
        absl::StatusOr<bool> more = chore->Step(db);
        if (more.ok() && !*more) finish();
        return more;
      },
      give_up);
}

void SqliteStore::Kept(const Entry& entry, const Manifest& manifest) {
  {
    MutexLock lock(&mutex_);
    std::vector<Manifest>& all = manifest.is_checkpoint ? entry->checkpoints : entry->snapshots;
    all.push_back(manifest);
    const auto most = static_cast<size_t>(options_.checkpoints_per_model);
    while (manifest.is_checkpoint && most > 0 && all.size() > most) {
      entry->dying.push_back(all.front());
      all.erase(all.begin());
    }
  }
  Tidy(entry);
}

void SqliteStore::Kept(const std::vector<const Write*>& writes) {
  for (const Write* write : writes) {
    const ModelEntry& model = *write->model;
    if (marks_ != nullptr) marks_->Set(model.model_id, model.name, write->rows.rows.back().at);
  }
  MutexLock lock(&mutex_);
  for (const Write* write : writes) {
    for (const JournalRow& row : write->rows.rows) {
      write->model->rows.push_back({row.at.seq, row.at.step});
    }
  }
}

void SqliteStore::Tidy(const Entry& entry) const {
  committer_.Submit([this, entry](Database& db) { return TidyStep(entry, db); }, nullptr);
}

// What is taken is forgotten at once. Should removing it fail, then a later start finds it again.
SqliteStore::Rubbish SqliteStore::TakeRubbish(ModelEntry& model) const {
  Rubbish rubbish;
  const auto snapshots = static_cast<size_t>(options_.snapshots_per_model);
  if (model.readers > 0) return rubbish;  // the last of them tidies
  if (model.deleted) {
    for (std::vector<Manifest>* all : {&model.snapshots, &model.checkpoints}) {
      model.dying.insert(model.dying.end(), all->begin(), all->end());
      all->clear();
    }
  } else if (model.snapshots.size() > snapshots) {
    model.dying.push_back(model.snapshots.front());
    model.snapshots.erase(model.snapshots.begin());
  }
  if (!model.dying.empty()) {
    rubbish.manifest = model.dying.back().id;
    model.dead.push_back(model.dying.back());
    model.dying.pop_back();
    return rubbish;
  }
  if (!model.dead.empty()) {
    Manifest& dead = model.dead.back();
    rubbish.end_chunk = ChunkId(dead.id, dead.chunks);
    dead.chunks = std::max<int64_t>(dead.chunks - kChunksAtOnce, 0);
    rubbish.first_chunk = ChunkId(dead.id, dead.chunks);
    if (dead.chunks == 0) model.dead.pop_back();
    if (!rubbish.empty()) return rubbish;
  }
  int64_t limit = model.deleted ? std::numeric_limits<int64_t>::max() : 0;
  if (model.snapshots.size() == snapshots) limit = model.snapshots.front().at.seq;
  while (!model.rows.empty() && model.rows.front().seq <= limit &&
         rubbish.rows.size() < kRowsAtOnce) {
    rubbish.rows.push_back(model.rows.front().seq);
    model.rows.pop_front();
  }
  return rubbish;
}

absl::StatusOr<bool> SqliteStore::TidyStep(const Entry& entry, Database& db) const {
  Rubbish rubbish;
  bool bury = false;
  {
    MutexLock lock(&mutex_);
    rubbish = TakeRubbish(*entry);
    bury = rubbish.empty() && entry->deleted && entry->readers == 0;
  }
  absl::Status status;
  if (bury) {
    status = Bury(entry, db);
  } else if (!rubbish.empty()) {
    status = rubbish.Remove(db, *journal_);
    if (status.ok()) journal_->Free(rubbish.rows);
  }
  if (!status.ok()) return status;
  return !rubbish.empty();
}

// The tombstone goes last, and only once the mark is durably gone: a mark without a model would be
// taken for a model that was lost.
absl::Status SqliteStore::Bury(const Entry& entry, Database& db) const {
  absl::Status status;
  if (!entry->damage.ok() || !entry->damaged_rows.empty() || !entry->damaged_manifests.empty()) {
    status = db.Run("DELETE FROM large WHERE seq IN (SELECT seq FROM journal WHERE model_id = ?)",
                    entry->model_id);
    if (status.ok()) status = db.Run("DELETE FROM journal WHERE model_id = ?", entry->model_id);
    if (status.ok()) status = db.Run("DELETE FROM snapshot WHERE model_id = ?", entry->model_id);
  }
  if (status.ok() && marks_ != nullptr) status = marks_->Remove(entry->model_id);
  if (!status.ok()) return status;
  return db.Run("DELETE FROM model WHERE model_id = ?", entry->model_id);
}

}  // namespace lazynorm
