#include "server/store/migrate.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/store/errors.h"
#include "server/store/store.h"

namespace lazynorm {
namespace {

constexpr size_t kRecordsAtOnce = 500;
constexpr size_t kBytesAtOnce = size_t{4} << 20;

absl::Status WriteCheckpoint(Journal& journal, const CheckpointInfo& info, Snapshot snapshot) {
  std::promise<absl::Status> heard;
  journal.WriteCheckpoint(
      info.label, info.create_time, std::move(snapshot),
      [&](const absl::StatusOr<CheckpointInfo>& kept) { heard.set_value(kept.status()); });
  return heard.get_future().get();
}

// Writes one model's history into another store as it is read from the first.
class ModelCopy {
 public:
  ModelCopy(const Store& from, Store& to, std::string model,
            std::vector<CheckpointInfo> checkpoints)
      : from_(from), to_(to), model_(std::move(model)), checkpoints_(std::move(checkpoints)) {}

  absl::Status Run() {
    const absl::StatusOr<Position> end = from_.ReadHistory(
        model_, {.on_snapshot = [this](const Snapshot& snapshot) { return Take(snapshot); },
                 .on_record = [this](const Position& at,
                                     const Record& record) { return Take(at, record); }});
    if (!end.ok()) return end.status();
    const absl::Status status = Flush();
    if (!status.ok() || journal_->end().chain == end->chain) return status;
    return absl::InternalError(absl::StrCat("the copy of model \"", model_, "\" is another one"));
  }
  std::string summary() const {
    return absl::StrCat("model \"", model_, "\": step ", journal_->end().step, ", ", records_,
                        " records, ", snapshots_, " snapshots, ", next_checkpoint_, " checkpoints");
  }

 private:
  absl::Status Take(const Snapshot& snapshot) {
    ++snapshots_;
    if (journal_ == nullptr) {
      absl::Status status = Begin(to_.CreateAt(model_, snapshot));
      return status.ok() ? CopyCheckpoints(snapshot.at.seq) : status;
    }
    absl::Status status = Flush();
    if (!status.ok()) return status;
    std::promise<absl::Status> heard;
    journal_->WriteSnapshot({journal_->end(), snapshot.numeric_fingerprint, snapshot.bytes},
                            [&](absl::Status kept) { heard.set_value(std::move(kept)); });
    return heard.get_future().get();
  }

  absl::Status Take(const Position& at, const Record& record) {
    ++records_;
    absl::Status status;
    if (journal_ == nullptr) {
      status = Begin(to_.Create(model_, record));
    } else {
      waiting_.push_back(record);
      bytes_ += record.payload.size();
      if (waiting_.size() >= kRecordsAtOnce || bytes_ >= kBytesAtOnce) status = Flush();
    }
    return status.ok() ? CopyCheckpoints(at.seq) : status;
  }

  absl::Status Begin(absl::StatusOr<std::unique_ptr<Journal>> journal) {
    if (journal.ok()) journal_ = *std::move(journal);
    return journal.status();
  }

  absl::Status Flush() {
    if (waiting_.empty()) return absl::OkStatus();
    std::promise<absl::Status> heard;
    journal_->Append(std::exchange(waiting_, {}),
                     [&](absl::Status kept) { heard.set_value(std::move(kept)); });
    bytes_ = 0;
    return heard.get_future().get();
  }

  // Those up to a place that the model has just come to.
  absl::Status CopyCheckpoints(int64_t seq) {
    absl::Status status;
    while (status.ok() && next_checkpoint_ < checkpoints_.size() &&
           checkpoints_[next_checkpoint_].at.seq <= seq) {
      status = Flush();
      if (status.ok()) status = CopyCheckpoint(checkpoints_[next_checkpoint_], seq);
      if (status.ok()) ++next_checkpoint_;
    }
    return status;
  }

  // One from before the history that is kept has no place in the new journal.
  absl::Status CopyCheckpoint(const CheckpointInfo& info, int64_t seq) {
    absl::StatusOr<Snapshot> snapshot = from_.ReadCheckpoint(model_, info.id);
    if (!snapshot.ok()) return snapshot.status();
    snapshot->at.seq = info.at.seq == seq ? journal_->end().seq : 0;
    return WriteCheckpoint(*journal_, info, *std::move(snapshot));
  }

  const Store& from_;
  Store& to_;
  const std::string model_;
  const std::vector<CheckpointInfo> checkpoints_;
  std::unique_ptr<Journal> journal_;
  std::vector<Record> waiting_;
  size_t bytes_ = 0, next_checkpoint_ = 0;
  int64_t records_ = 0, snapshots_ = 0;
};

// What is to be done about a model of the target.
enum class There { kNothing, kBeginning, kAll };

absl::StatusOr<There> Compare(const Store& from, const Store& to, const std::string& model) {
  const absl::StatusOr<Position> there = to.ReadHistory(model, {});
  if (absl::IsNotFound(there.status())) return There::kNothing;
  if (!there.ok()) return there.status();
  bool passed = false;
  const auto pass = [&](const Position& at) {
    passed = passed || (at.chain == there->chain && at.step == there->step);
    return absl::OkStatus();
  };
  const absl::StatusOr<Position> here = from.ReadHistory(
      model, {.on_snapshot = [&](const Snapshot& snapshot) { return pass(snapshot.at); },
              .on_record = [&](const Position& at, const Record&) { return pass(at); }});
  if (!here.ok()) return here.status();
  if (here->chain == there->chain) return There::kAll;
  return passed ? absl::StatusOr<There>(There::kBeginning) : ModelExists(model);
}

// Those of `wanted` that are not among `there`. Ids and places are each store's own.
std::vector<CheckpointInfo> Missing(const std::vector<CheckpointInfo>& wanted,
                                    const std::vector<CheckpointInfo>& there) {
  std::vector<CheckpointInfo> missing;
  for (const CheckpointInfo& one : wanted) {
    const bool found = std::any_of(there.begin(), there.end(), [&](const CheckpointInfo& other) {
      return one.at.chain == other.at.chain && one.label == other.label &&
             one.create_time == other.create_time;
    });
    if (!found) missing.push_back(one);
  }
  return missing;
}

// Into a model that is there already, with all its history.
absl::Status AddCheckpoints(const Store& from, Store& to, const std::string& model,
                            const std::vector<CheckpointInfo>& missing) {
  const absl::StatusOr<std::unique_ptr<Journal>> journal = to.Open(model, {});
  if (!journal.ok()) return journal.status();
  for (const CheckpointInfo& info : missing) {
    absl::StatusOr<Snapshot> snapshot = from.ReadCheckpoint(model, info.id);
    if (!snapshot.ok()) return snapshot.status();
    const Position end = (*journal)->end();
    snapshot->at.seq = info.at.chain == end.chain ? end.seq : 0;
    const absl::Status kept = WriteCheckpoint(**journal, info, *std::move(snapshot));
    if (!kept.ok()) return kept;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CopyModel(const Store& from, Store& to, const StoredModel& stored) {
  const std::string& model = stored.model;
  if (!stored.damage.ok()) return stored.damage;
  absl::StatusOr<std::vector<CheckpointInfo>> checkpoints = from.Checkpoints(model);
  if (!checkpoints.ok()) return checkpoints.status();
  const absl::StatusOr<There> there = Compare(from, to, model);
  if (!there.ok()) return there.status();
  if (*there != There::kNothing) {
    const absl::StatusOr<std::vector<CheckpointInfo>> copied = to.Checkpoints(model);
    if (!copied.ok()) return copied.status();
    if (*there == There::kAll) {
      const std::vector<CheckpointInfo> missing = Missing(*checkpoints, *copied);
      const absl::Status added =
          missing.empty() ? absl::OkStatus() : AddCheckpoints(from, to, model, missing);
      if (!added.ok()) return added;
      return absl::StrCat(
          "model \"", model, "\": is there already",
          missing.empty() ? "" : absl::StrCat(", ", missing.size(), " checkpoints were not"));
    }
    // The copy that is there was not finished, or the source has gone on since.
    if (!Missing(*copied, *checkpoints).empty()) {
      return StoreRefused(absl::StrCat("model \"", model,
                                       "\" has checkpoints in the target that the "
                                       "source has not: delete it or them first"));
    }
    const absl::Status deleted = to.Delete(model);
    if (!deleted.ok()) return deleted;
  }
  ModelCopy copy(from, to, model, *std::move(checkpoints));
  const absl::Status status = copy.Run();
  if (!status.ok()) return status;
  return copy.summary();
}

absl::StatusOr<std::unique_ptr<Store>> OpenAlone(
    absl::string_view which, absl::string_view uri,
    const std::function<void(const std::string&)>& warn) {
  StoreOptions options;
  options.snapshots_per_model = 1'000'000;  // nothing is trimmed, on either side
  options.checkpoints_per_model = 0;
  options.lease_timeout = absl::Seconds(30);  // nobody waits to take over; a pause ends nothing
  options.hooks.on_warning = warn;
  absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(uri, std::move(options));
  if (!store.ok() || (*store)->cluster() == nullptr) return store;
  const absl::StatusOr<std::vector<Replica>> replicas = (*store)->cluster()->Replicas();
  if (!replicas.ok()) return replicas.status();
  if (replicas->size() == 1) return store;
  return StoreRefused(absl::StrCat("the ", which, " is in use by ", replicas->size() - 1,
                                   " others: stop all its servers first"));
}

}  // namespace

absl::Status MigrateStore(absl::string_view from_uri, absl::string_view to_uri,
                          const std::function<void(const std::string&)>& progress) {
  if (from_uri == to_uri) return absl::InvalidArgumentError("both stores are the same one");
  for (const absl::string_view uri : {from_uri, to_uri}) {
    if (uri == "memory:") return absl::InvalidArgumentError("memory: keeps nothing");
  }
  // Opening one that is not there would make it.
  absl::string_view path = from_uri;
  if (absl::ConsumePrefix(&path, "sqlite://") && !std::filesystem::exists(std::string(path))) {
    return StoreRefused(absl::StrCat("the source: there is no database ", path));
  }
  const absl::StatusOr<std::unique_ptr<Store>> from = OpenAlone("source", from_uri, progress);
  if (!from.ok()) return from.status();
  const absl::StatusOr<std::unique_ptr<Store>> to = OpenAlone("target", to_uri, progress);
  if (!to.ok()) return to.status();
  const absl::StatusOr<std::vector<StoredModel>> models = (*from)->Models();
  if (!models.ok()) return models.status();
  if (models->empty()) return StoreRefused("the source has no models");
  size_t damaged = 0;
  for (const StoredModel& model : *models) {
    const absl::StatusOr<std::string> copied = CopyModel(**from, **to, model);
    if (!copied.ok() && !absl::IsDataLoss(copied.status())) return copied.status();
    if (!copied.ok()) ++damaged;
    progress(copied.ok() ? *copied : std::string(copied.status().message()));
  }
  if (damaged == 0) return absl::OkStatus();
  return ModelDamaged(absl::StrCat(damaged, " of ", models->size(), " models are damaged"));
}

}  // namespace lazynorm
