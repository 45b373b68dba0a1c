// What a SqliteStore does between group commits: snapshots come, and what is no longer needed goes.

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "server/store/broken.h"
#include "server/store/errors.h"
#include "server/store/sqlite_store.h"

namespace lazynorm {
namespace {

constexpr size_t kChunkBytes = size_t{256} << 10;
constexpr size_t kRowsAtOnce = 500;
constexpr int64_t kChunksAtOnce = 16;
constexpr int64_t kMovedAtOnce = 256 << 10;

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
  int64_t model_id = 0;
  std::vector<RowPlace> rows;              // of the journal
  int64_t manifest = 0;                    // a snapshot's id
  int64_t first_chunk = 0, end_chunk = 0;  // keys

  bool empty() const { return rows.empty() && manifest == 0 && first_chunk == end_chunk; }

  absl::Status Remove(Database& db) const {
    return db.Transaction([&] {
      absl::Status status;
      int64_t trimmed = 0;
      for (const RowPlace& row : rows) {
        if (row.place.in_file()) trimmed = row.seq;
        if (row.place.in_file() || !status.ok()) continue;
        status = db.Run("DELETE FROM journal WHERE seq = ?", row.seq);
      }
      if (status.ok() && trimmed != 0) status = SetTrimmed(db, model_id, trimmed);
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
    const ModelRows& kept = write->rows;
    for (size_t i = 0; i < kept.rows.size(); ++i) {
      const Position& at = kept.rows[i].at;
      write->model->rows.push_back(
          {at.seq, at.step, kept.places.empty() ? Place{} : kept.places[i]});
    }
  }
}

void SqliteStore::Tidy(const Entry& entry) const {
  committer_.Submit([this, entry](Database& db) { return TidyStep(entry, db); }, nullptr);
}

// What is taken is forgotten at once. Should removing it fail, then a later start finds it again,
// and rows the next that tidies.
SqliteStore::Rubbish SqliteStore::TakeRubbish(ModelEntry& model) const {
  Rubbish rubbish;
  rubbish.model_id = model.model_id;
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
    rubbish.rows.push_back(model.rows.front());
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
    status = rubbish.Remove(db);
  }
  if (!status.ok()) {
    // Their room in the file would be lost until the next start.
    MutexLock lock(&mutex_);
    entry->rows.insert(entry->rows.begin(), rubbish.rows.begin(), rubbish.rows.end());
    return status;
  }
  for (const RowPlace& row : rubbish.rows) {
    if (row.place.in_file()) journal_->Free(row.place);
  }
  if (!rubbish.rows.empty()) Compact();
  return !rubbish.empty();
}

// The tombstone goes last, and only once the mark is durably gone: a mark without a model would be
// taken for a model that was lost.
absl::Status SqliteStore::Bury(const Entry& entry, Database& db) const {
  absl::Status status;
  if (!entry->damage.ok() || !entry->damaged_rows.empty() || !entry->damaged_manifests.empty()) {
    status = db.Run("DELETE FROM journal WHERE model_id = ?", entry->model_id);
    if (status.ok()) status = db.Run("DELETE FROM snapshot WHERE model_id = ?", entry->model_id);
  }
  if (status.ok()) status = db.Run("DELETE FROM trimmed WHERE model_id = ?", entry->model_id);
  if (status.ok() && marks_ != nullptr) status = marks_->Remove(entry->model_id);
  if (!status.ok()) return status;
  return db.Run("DELETE FROM model WHERE model_id = ?", entry->model_id);
}

struct SqliteStore::Compaction {
  std::map<int64_t, Entry> models;  // by id
  std::vector<FoundRecord> found;   // in the segment that is to become empty; first there is none
  size_t next = 0;                  // of them
};

// Records that outlive those around them are written once more, so that the rest of their segment
// can be used again.
void SqliteStore::Compact() const {
  if (!appends_to_file_ || compacting_ || !journal_->IsSparse()) return;
  compacting_ = true;
  auto compaction = std::make_shared<Compaction>();
  committer_.Submit(
      [this, compaction](Database&) -> absl::StatusOr<bool> {
        const absl::StatusOr<bool> more = CompactStep(*compaction);
        if (!more.ok() || *more) return more;
        compacting_ = false;
        // The next segment comes behind the chores that wait.
        if (!compaction->found.empty()) Compact();
        return false;
      },
      [this](const absl::Status&) { compacting_ = false; });
}

RowPlace* SqliteStore::RowOf(const Compaction& compaction, const FoundRecord& record) const {
  const auto model = compaction.models.find(record.model_id);
  if (model == compaction.models.end()) return nullptr;
  std::deque<RowPlace>& rows = model->second->rows;
  const auto row = std::lower_bound(rows.begin(), rows.end(), record.seq,
                                    [](const RowPlace& r, int64_t seq) { return r.seq < seq; });
  const bool here = row != rows.end() && row->seq == record.seq && row->place == record.place;
  return here ? &*row : nullptr;
}

absl::StatusOr<bool> SqliteStore::CompactStep(Compaction& compaction) const {
  if (compaction.found.empty()) {
    absl::StatusOr<std::vector<FoundRecord>> found = journal_->FindSparsest();
    if (!found.ok()) return found.status();
    if (found->empty()) return false;
    MutexLock lock(&mutex_);
    compaction = {{}, *std::move(found), 0};
    for (const auto& [name, entry] : models_) compaction.models[entry->model_id] = entry;
  }
  Frame frame;
  std::vector<FoundRecord> moved;
  while (compaction.next < compaction.found.size() && frame.bytes() < kMovedAtOnce) {
    const FoundRecord& record = compaction.found[compaction.next++];
    if (!record.whole) continue;  // it stays where its damage is found
    {
      MutexLock lock(&mutex_);
      if (RowOf(compaction, record) == nullptr) continue;
    }
    const absl::StatusOr<std::string> bytes = journal_->ReadBytes(record.place);
    if (!bytes.ok()) return bytes.status();
    frame.AddBytes(record.model_id, record.seq, *bytes);
    moved.push_back(record);
  }
  const bool more = compaction.next < compaction.found.size();
  if (moved.empty()) return more;
  const absl::StatusOr<std::vector<Place>> places = journal_->Append(frame);
  if (!places.ok()) return places.status();
  {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < moved.size(); ++i) RowOf(compaction, moved[i])->place = (*places)[i];
  }
  for (const FoundRecord& record : moved) journal_->Free(record.place);
  return more;
}

}  // namespace lazynorm
