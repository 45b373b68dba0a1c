#include "server/store/memory_store.h"

#include <algorithm>
#include <future>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/store/errors.h"
#include "server/store/read_back.h"

namespace lazynorm {

// The Journal of a MemoryStore. A model's fields are the store's mutex's.
class MemoryJournal : public Journal {
 public:
  MemoryJournal(MemoryStore* store, std::shared_ptr<MemoryStore::Model> model, int64_t number,
                Position end)
      : store_(store), model_(std::move(model)), number_(number), end_(end) {}

  Position Append(std::vector<Record> records, Done done) override {
    std::vector<std::pair<Position, Record>> kept;
    for (Record& record : records) {
      const uint64_t chain = NextChain(end_.chain, record, ContentHash(record.payload));
      MutexLock lock(&store_->mutex_);
      end_ = {++store_->last_seq_, record.step, chain};
      kept.emplace_back(end_, std::move(record));
    }
    store_->committer_.Run(
        [store = store_, model = model_, number = number_, kept = std::move(kept),
         done = std::move(done)]() mutable { done(store->Keep(*model, number, std::move(kept))); });
    return end_;
  }

  Position end() const override { return end_; }

  void WriteSnapshot(Snapshot snapshot, Done done) override {
    store_->committer_.Run([store = store_, model = model_, number = number_,
                            snapshot = std::move(snapshot), done = std::move(done)]() mutable {
      done(store->Keep(*model, number, std::move(snapshot)));
    });
  }

  void WriteCheckpoint(std::string label, absl::Time create_time, Snapshot snapshot,
                       absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) override {
    const auto bytes = static_cast<int64_t>(snapshot.bytes.size());
    CheckpointInfo info = {"", std::move(label), snapshot.at, create_time, bytes};
    store_->committer_.Run([store = store_, model = model_, number = number_,
                            info = std::move(info), snapshot = std::move(snapshot),
                            done = std::move(done)]() mutable {
      done(store->Keep(*model, number, std::move(info), std::move(snapshot)));
    });
  }

 private:
  MemoryStore* const store_;
  const std::shared_ptr<MemoryStore::Model> model_;
  const int64_t number_;
  Position end_;
};

absl::StatusOr<std::shared_ptr<MemoryStore::Model>> MemoryStore::Find(
    absl::string_view model) const {
  const auto found = models_.find(std::string(model));
  if (found == models_.end()) return NoSuchModel(model);
  return found->second;
}

absl::StatusOr<MemoryStore::Model> MemoryStore::CopyOf(absl::string_view model) const {
  MutexLock lock(&mutex_);
  const absl::StatusOr<std::shared_ptr<Model>> found = Find(model);
  if (!found.ok()) return found.status();
  return **found;
}

absl::Status MemoryStore::Check(const Model& model, int64_t journal) {
  if (!model.broken.ok()) return model.broken;
  if (model.journals != journal) return absl::AbortedError("the model was opened again");
  return absl::OkStatus();
}

absl::Status MemoryStore::Keep(Model& model, int64_t journal,
                               std::vector<std::pair<Position, Record>> records) {
  const absl::Time start = absl::Now();
  int64_t bytes = 0;
  {
    MutexLock lock(&mutex_);
    absl::Status status = Check(model, journal);
    if (!status.ok()) return status;
    for (const auto& [at, record] : records) {
      const auto size = static_cast<int64_t>(record.payload.size() + record.request_id.size());
      bytes += static_cast<int64_t>(record.payload.size());
      if (size <= options_.max_record_bytes) continue;
      model.broken = RecordTooLarge(size, options_.max_record_bytes);
      return model.broken;
    }
    for (auto& record : records) model.records.push_back(std::move(record));
  }
  if (!records.empty() && options_.hooks.on_commit) {
    options_.hooks.on_commit(absl::Now() - start, static_cast<int64_t>(records.size()), bytes);
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::Keep(Model& model, int64_t journal, Snapshot snapshot) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(model, journal);
  if (!status.ok()) return status;
  model.snapshots.push_back(std::move(snapshot));
  const auto most = static_cast<size_t>(options_.snapshots_per_model);
  if (model.snapshots.size() < most) return absl::OkStatus();
  if (model.snapshots.size() > most) model.snapshots.erase(model.snapshots.begin());
  const int64_t limit = model.snapshots.front().at.seq;
  model.records.erase(model.records.begin(),
                      std::find_if(model.records.begin(), model.records.end(),
                                   [limit](const auto& r) { return r.first.seq > limit; }));
  return absl::OkStatus();
}

absl::StatusOr<CheckpointInfo> MemoryStore::Keep(Model& model, int64_t journal, CheckpointInfo info,
                                                 Snapshot snapshot) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(model, journal);
  if (!status.ok()) return status;
  info.id = absl::StrCat(++last_id_);
  model.checkpoints.emplace_back(info, std::move(snapshot));
  const auto most = static_cast<size_t>(options_.checkpoints_per_model);
  if (most > 0 && model.checkpoints.size() > most)
    model.checkpoints.erase(model.checkpoints.begin());
  return info;
}

absl::StatusOr<std::vector<StoredModel>> MemoryStore::Models() const {
  MutexLock lock(&mutex_);
  std::vector<StoredModel> models;
  for (const auto& [name, model] : models_) models.push_back({name, absl::OkStatus()});
  return models;
}

absl::StatusOr<std::unique_ptr<Journal>> MemoryStore::Create(absl::string_view model,
                                                             Record creation) {
  auto kept = std::make_shared<Model>();
  {
    MutexLock lock(&mutex_);
    if (!models_.emplace(std::string(model), kept).second) return ModelExists(model);
  }
  auto journal = std::make_unique<MemoryJournal>(this, kept, 0, Position{0, 0, FirstChain(model)});
  std::promise<absl::Status> promise;
  std::vector<Record> records;
  records.push_back(std::move(creation));
  journal->Append(std::move(records), [&](absl::Status s) { promise.set_value(std::move(s)); });
  absl::Status status = promise.get_future().get();
  if (status.ok()) return journal;
  MutexLock lock(&mutex_);
  models_.erase(std::string(model));
  return status;
}

absl::StatusOr<std::unique_ptr<Journal>> MemoryStore::Open(absl::string_view model,
                                                           const Reader& reader) {
  std::shared_ptr<Model> found;
  Model copy;
  std::promise<void> queued;  // what was appended before is finished first
  committer_.Run([&] { queued.set_value(); });
  queued.get_future().wait();
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<std::shared_ptr<Model>> there = Find(model);
    if (!there.ok()) return there.status();
    found = *there;
    found->broken = absl::OkStatus();
    ++found->journals;
    copy = *found;
  }
  const absl::StatusOr<Position> end = Read(model, copy, reader.from, reader);
  if (!end.ok()) return end.status();
  return std::make_unique<MemoryJournal>(this, found, copy.journals, *end);
}

absl::StatusOr<Position> MemoryStore::Read(absl::string_view name, const Model& model,
                                           const Position& from, const Reader& reader) {
  const bool known = std::any_of(model.records.begin(), model.records.end(),
                                 [&](const auto& r) { return r.first == from; }) ||
                     std::any_of(model.snapshots.begin(), model.snapshots.end(),
                                 [&](const Snapshot& s) { return s.at == from; });
  Position end = known ? from : Position{0, 0, FirstChain(name)};
  absl::Status status;
  if (!known && !model.snapshots.empty()) {
    end = model.snapshots.back().at;
    if (reader.on_snapshot) status = reader.on_snapshot(model.snapshots.back());
  }
  for (const auto& [at, record] : model.records) {
    if (!status.ok()) return status;
    if (at.seq <= end.seq) continue;
    end = at;
    if (reader.on_record) status = reader.on_record(at, record);
  }
  if (!status.ok()) return status;
  return end;
}

absl::StatusOr<Position> MemoryStore::ReadFrom(absl::string_view model, const Position& from,
                                               const Reader& reader) const {
  const absl::StatusOr<Model> copy = CopyOf(model);
  if (!copy.ok()) return copy.status();
  return Read(model, *copy, from, reader);
}

absl::Status MemoryStore::ReadAt(absl::string_view model, int64_t step,
                                 const Reader& reader) const {
  const absl::StatusOr<Model> copy = CopyOf(model);
  if (!copy.ok()) return copy.status();
  int64_t last = 0, newest = -1;
  for (const auto& [at, record] : copy->records) {
    newest = std::max(newest, at.step);
    if (at.step == step) last = at.seq;
  }
  for (const Snapshot& snapshot : copy->snapshots) {
    newest = std::max(newest, snapshot.at.step);
    if (snapshot.at.step == step) last = std::max(last, snapshot.at.seq);
  }
  if (last == 0) return NoSuchStep(model, step, newest);
  const auto base = std::find_if(copy->snapshots.rbegin(), copy->snapshots.rend(),
                                 [last](const Snapshot& s) { return s.at.seq <= last; });
  int64_t seq = 0;
  absl::Status status;
  if (base != copy->snapshots.rend()) {
    seq = base->at.seq;
    if (reader.on_snapshot) status = reader.on_snapshot(*base);
  }
  for (const auto& [at, record] : copy->records) {
    if (!status.ok()) return status;
    if (at.seq > seq && at.seq <= last && reader.on_record) status = reader.on_record(at, record);
  }
  return status;
}

absl::StatusOr<Position> MemoryStore::ReadHistory(absl::string_view model,
                                                  const Reader& reader) const {
  const absl::StatusOr<Model> copy = CopyOf(model);
  if (!copy.ok()) return copy.status();
  std::vector<Manifest> manifests;
  for (const Snapshot& snapshot : copy->snapshots) {
    manifests.push_back(ManifestOf(static_cast<int64_t>(manifests.size()), snapshot));
  }
  bool whole = !copy->records.empty();
  if (whole) {
    const auto& [at, record] = copy->records.front();
    whole = at.chain == NextChain(FirstChain(model), record, ContentHash(record.payload));
  }
  return ReadWholeHistory(
      model, manifests, whole,
      [&](const Manifest& m) { return copy->snapshots[static_cast<size_t>(m.model_id)].bytes; },
      [&](const Position& from, const Reader& records) -> absl::StatusOr<Position> {
        Position end = from;
        for (const auto& [at, record] : copy->records) {
          if (at.seq <= from.seq) continue;
          absl::Status status = records.on_record(at, record);
          if (!status.ok()) return status;
          end = at;
        }
        return end;
      },
      reader);
}

absl::StatusOr<std::unique_ptr<Journal>> MemoryStore::CreateAt(absl::string_view model,
                                                               Snapshot base) {
  auto kept = std::make_shared<Model>();
  MutexLock lock(&mutex_);
  if (!models_.emplace(std::string(model), kept).second) return ModelExists(model);
  base.at.seq = ++last_seq_;
  const Position at = base.at;
  kept->snapshots.push_back(std::move(base));
  return std::make_unique<MemoryJournal>(this, kept, 0, at);
}

absl::Status MemoryStore::Delete(absl::string_view model) {
  MutexLock lock(&mutex_);
  absl::StatusOr<std::shared_ptr<Model>> found = Find(model);
  if (!found.ok()) return found.status();
  (*found)->broken = NoSuchModel(model);
  models_.erase(std::string(model));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CheckpointInfo>> MemoryStore::Checkpoints(
    absl::string_view model) const {
  MutexLock lock(&mutex_);
  const absl::StatusOr<std::shared_ptr<Model>> found = Find(model);
  if (!found.ok()) return found.status();
  std::vector<CheckpointInfo> infos;
  for (const auto& [info, snapshot] : (*found)->checkpoints) infos.push_back(info);
  return infos;
}

absl::StatusOr<Snapshot> MemoryStore::ReadCheckpoint(absl::string_view model,
                                                     absl::string_view id) const {
  MutexLock lock(&mutex_);
  const absl::StatusOr<std::shared_ptr<Model>> found = Find(model);
  if (!found.ok()) return found.status();
  for (const auto& [info, snapshot] : (*found)->checkpoints) {
    if (info.id == id) return snapshot;
  }
  return NoSuchCheckpoint(model, id);
}

absl::Status MemoryStore::DeleteCheckpoint(absl::string_view model, absl::string_view id) {
  MutexLock lock(&mutex_);
  const absl::StatusOr<std::shared_ptr<Model>> found = Find(model);
  if (!found.ok()) return found.status();
  auto& all = (*found)->checkpoints;
  const auto it =
      std::find_if(all.begin(), all.end(), [id](const auto& c) { return c.first.id == id; });
  if (it == all.end()) return NoSuchCheckpoint(model, id);
  all.erase(it);
  return absl::OkStatus();
}

absl::Status MemoryStore::Backup(const std::string&) const {
  return absl::UnimplementedError("a store in memory has no backup");
}

}  // namespace lazynorm
