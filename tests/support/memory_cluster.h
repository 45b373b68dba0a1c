#ifndef LAZYNORM_TESTS_SUPPORT_MEMORY_CLUSTER_H_
#define LAZYNORM_TESTS_SUPPORT_MEMORY_CLUSTER_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/base/mutex.h"
#include "server/store/errors.h"
#include "server/store/memory_store.h"

namespace lazynorm {

// The double of a database that several replicas share. Thread-safe.
class MemoryCluster {
 public:
  class Member;

  // One replica's store, alive until it is lost or destroyed.
  std::unique_ptr<Member> Join(std::string address);

  const std::string secret = "what only the database and its replicas know";

 private:
  struct Place {
    int64_t holder = 0, epoch = 0, heir = 0;
    Position end;
  };

  Mutex mutex_;
  CondVar changed_;
  int64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::string> alive_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Place> places_ ABSL_GUARDED_BY(mutex_);
  MemoryStore store_{StoreOptions{}};
};

class MemoryCluster::Member : public Store, public Cluster {
 public:
  Member(MemoryCluster& cluster, std::string address)
      : cluster_(cluster), address_(std::move(address)) {
    ComeBack();
  }
  ~Member() override { Lose(); }

  // The others take this replica for dead, though it may go on, as one that was paused does.
  void Lose() {
    MutexLock lock(&cluster_.mutex_);
    cluster_.alive_.erase(id_);
    Changed();
  }
  // It has noticed, and is another replica now.
  void ComeBack() {
    MutexLock lock(&cluster_.mutex_);
    cluster_.alive_.erase(id_);
    id_ = ++cluster_.last_id_;
    cluster_.alive_[id_] = address_;
    Changed();
  }
  // What asks about the others fails from now on.
  void CutOff(bool cut) { cut_ = cut; }
  // Records that this replica was given to read.
  int64_t records_read() const { return records_read_; }

  Cluster* cluster() override { return this; }
  int64_t self() const override { return id_; }
  const std::string& secret() const override { return cluster_.secret; }

  absl::StatusOr<std::vector<Replica>> Replicas() override {
    if (cut_) return StoreFailed("cut off");
    MutexLock lock(&cluster_.mutex_);
    std::vector<Replica> replicas;
    for (const auto& [id, address] : cluster_.alive_) replicas.push_back({id, address});
    return replicas;
  }

  absl::StatusOr<std::vector<Holding>> Holdings() override {
    if (cut_) return StoreFailed("cut off");
    MutexLock lock(&cluster_.mutex_);
    std::vector<Holding> holdings;
    for (auto& [model, place] : cluster_.places_) {
      const auto end = cluster_.store_.ReadFrom(model, place.end, {});
      if (!end.ok()) continue;
      place.end = *end;
      const bool alive = cluster_.alive_.count(place.holder) > 0;
      holdings.push_back({model, place.holder, place.epoch, alive, place.heir, place.end});
    }
    return holdings;
  }

  absl::Status Release(absl::string_view model, int64_t heir) override {
    MutexLock lock(&cluster_.mutex_);
    const auto found = cluster_.places_.find(std::string(model));
    if (found == cluster_.places_.end()) return NoSuchModel(model);
    if (found->second.holder != id_) return NotHolder(model);
    found->second.holder = 0;
    found->second.heir = heir;
    Changed();
    return absl::OkStatus();
  }

  void WaitForChange(absl::Duration timeout) override {
    MutexLock lock(&cluster_.mutex_);
    const absl::Time end = absl::Now() + timeout;
    const int64_t before = cluster_.changes_;
    while (cluster_.changes_ == before) {
      if (!cluster_.changed_.WaitUntil(&cluster_.mutex_, end)) return;
    }
  }

  absl::StatusOr<std::unique_ptr<Journal>> Create(absl::string_view model,
                                                  Record creation) override {
    MutexLock lock(&cluster_.mutex_);
    auto journal = cluster_.store_.Create(model, std::move(creation));
    if (!journal.ok()) return journal.status();
    cluster_.places_[std::string(model)] = {id_, 1, 0, {}};
    Changed();
    return std::make_unique<FencedJournal>(std::string(model), *std::move(journal));
  }

  absl::StatusOr<std::unique_ptr<Journal>> Open(absl::string_view model,
                                                const Reader& reader) override {
    MutexLock lock(&cluster_.mutex_);
    const auto found = cluster_.places_.find(std::string(model));
    if (found == cluster_.places_.end()) return NoSuchModel(model);
    Place& place = found->second;
    if (place.holder != id_ && cluster_.alive_.count(place.holder) > 0) return NotHolder(model);
    place = {id_, place.epoch + 1, 0, place.end};
    Changed();
    auto journal = cluster_.store_.Open(model, Counted(reader));
    if (!journal.ok()) return journal.status();
    return std::make_unique<FencedJournal>(std::string(model), *std::move(journal));
  }

  absl::StatusOr<Position> ReadFrom(absl::string_view model, const Position& from,
                                    const Reader& reader) const override {
    if (cut_) return StoreFailed("cut off");
    return cluster_.store_.ReadFrom(model, from, Counted(reader));
  }

  absl::StatusOr<Position> ReadHistory(absl::string_view model,
                                       const Reader& reader) const override {
    return cluster_.store_.ReadHistory(model, reader);
  }
  absl::StatusOr<std::unique_ptr<Journal>> CreateAt(absl::string_view, Snapshot) override {
    return absl::UnimplementedError("nothing is moved here");
  }

  absl::Status Delete(absl::string_view model) override {
    MutexLock lock(&cluster_.mutex_);
    cluster_.places_.erase(std::string(model));
    Changed();
    return cluster_.store_.Delete(model);
  }

  absl::StatusOr<std::vector<StoredModel>> Models() const override {
    return cluster_.store_.Models();
  }
  absl::Status ReadAt(absl::string_view model, int64_t step, const Reader& reader) const override {
    return cluster_.store_.ReadAt(model, step, reader);
  }
  absl::StatusOr<std::vector<CheckpointInfo>> Checkpoints(absl::string_view model) const override {
    return cluster_.store_.Checkpoints(model);
  }
  absl::StatusOr<Snapshot> ReadCheckpoint(absl::string_view model,
                                          absl::string_view id) const override {
    return cluster_.store_.ReadCheckpoint(model, id);
  }
  absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view id) override {
    return cluster_.store_.DeleteCheckpoint(model, id);
  }
  absl::Status Backup(const std::string& directory) const override {
    return cluster_.store_.Backup(directory);
  }

 private:
  // Tells the truth about who wrote the model meanwhile.
  class FencedJournal : public Journal {
   public:
    FencedJournal(std::string model, std::unique_ptr<Journal> journal)
        : model_(std::move(model)), journal_(std::move(journal)) {}
    Position Append(std::vector<Record> records, Done done) override {
      return journal_->Append(std::move(records),
                              [model = model_, done = std::move(done)](absl::Status kept) mutable {
                                done(absl::IsAborted(kept) ? NotHolder(model) : std::move(kept));
                              });
    }
    Position end() const override { return journal_->end(); }
    void WriteSnapshot(Snapshot snapshot, Done done) override {
      journal_->WriteSnapshot(std::move(snapshot), std::move(done));
    }
    void WriteCheckpoint(std::string label, absl::Time time, Snapshot snapshot,
                         absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) override {
      journal_->WriteCheckpoint(std::move(label), time, std::move(snapshot), std::move(done));
    }

   private:
    const std::string model_;
    const std::unique_ptr<Journal> journal_;
  };

  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(cluster_.mutex_) {
    ++cluster_.changes_;
    cluster_.changed_.NotifyAll();
  }
  Reader Counted(const Reader& reader) const {
    Reader counted = reader;
    counted.on_record = [this, &reader](const Position& at, const Record& record) {
      ++records_read_;
      return reader.on_record ? reader.on_record(at, record) : absl::OkStatus();
    };
    return counted;
  }

  MemoryCluster& cluster_;
  const std::string address_;
  std::atomic<int64_t> id_ = 0;
  std::atomic<bool> cut_ = false;
  mutable std::atomic<int64_t> records_read_ = 0;
};

inline std::unique_ptr<MemoryCluster::Member> MemoryCluster::Join(std::string address) {
  return std::make_unique<Member>(*this, std::move(address));
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_MEMORY_CLUSTER_H_
