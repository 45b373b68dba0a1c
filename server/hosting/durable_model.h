#ifndef LAZYNORM_SERVER_HOSTING_DURABLE_MODEL_H_
#define LAZYNORM_SERVER_HOSTING_DURABLE_MODEL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "model/learner.h"
#include "server/base/clock.h"
#include "server/convert/records.h"
#include "server/hosting/average.h"
#include "server/store/store.h"

namespace lazynorm {

// What all durable models of a process share. All that is pointed to outlives them.
struct DurableOptions {
  Store* store = nullptr;
  const Clock* clock = nullptr;
  Limits limits;
  // Snapshots keep the time that it takes to repeat all journals, on one core, below this.
  absl::Duration replay_budget = absl::Seconds(5);
  // How many models share the budget; null for one.
  const std::atomic<int>* models = nullptr;
};

// UNAVAILABLE, NO_WRITER: refused where the model is not written; nothing of it was kept.
absl::Status NoWriter();
bool IsNoWriter(const absl::Status& status);

// A learner with its journal. A command is applied at once and durable with the next Commit that
// hears OK: whoever asked, and whoever predicts, must not see it before. Creating, recovering,
// following another replica and going back in time are one road: a saved model, and the commands
// behind it. Thread-compatible.
class DurableModel {
 public:
  // A new model. What Store::Create answers.
  static absl::StatusOr<std::unique_ptr<DurableModel>> Create(const std::string& id,
                                                              std::unique_ptr<Learner> learner,
                                                              const DurableOptions& options);
  // A model as the store has it. What Store::Open answers; MODEL_DAMAGED where repeating a command
  // does not give what it gave.
  static absl::StatusOr<std::unique_ptr<DurableModel>> Open(const std::string& id,
                                                            const DurableOptions& options);
  // A model as the store has it while another replica writes it. What Store::ReadFrom answers;
  // MODEL_DAMAGED as above.
  static absl::StatusOr<std::unique_ptr<DurableModel>> Follow(const std::string& id,
                                                              const DurableOptions& options);
  // A model as it was when it last stood at that step; see Store::ReadAt.
  static absl::StatusOr<SavedModel> ReadAt(const std::string& id, int64_t step,
                                           const DurableOptions& options);

  // Whether this is the writer: Create and Open make one, Follow does not.
  bool writes() const { return journal_ != nullptr; }
  // Of a follower: repeats what the writer has added. What Store::ReadFrom answers, and then this
  // stands somewhere on the way; MODEL_DAMAGED, and then it must be replaced by what Follow gives.
  absl::Status CatchUp();
  // Makes a follower the writer: repeats what it does not have yet. Errors as CatchUp and
  // Store::Open.
  absl::Status StartWriting();
  // Makes the writer a follower, once all that was committed is durable.
  void StopWriting();
  // Where it stands; of a writer, behind all that was committed.
  Position position() const { return writes() ? journal_->end() : at_; }

  // Learner::Apply, for the writer. What it changes goes into the next Commit.
  absl::StatusOr<StepResult> Apply(const Command& command);
  // Queues all that was applied since the last one, and a snapshot if it is time for one. `done`
  // hears on a thread of the store whether it is durable; in order. Anything but OK: this object is
  // ahead of what is kept, and must be replaced by what Open gives.
  void Commit(Done done);
  // Keeps the whole state under a label; `done` as in Commit. NO_WRITER of a follower.
  void WriteCheckpoint(std::string label,
                       absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done);

  const Learner& learner() const { return *learner_; }
  const Averages& averages() const { return averages_; }
  absl::Time create_time() const { return create_time_; }
  // Of the latest command that was not just a row to be remembered.
  absl::Time update_time() const { return update_time_; }
  // Another one whenever predictions may be others; no two models have the same.
  int64_t version() const { return version_; }
  // When the newest snapshot was asked for; the creation before that.
  absl::Time snapshot_time() const { return snapshot_time_; }

 private:
  DurableModel(std::string id, const DurableOptions& options)
      : id_(std::move(id)), options_(options) {}

  static int64_t NewVersion();
  static Reader ReaderInto(DurableModel& model);
  absl::Status Take(const SavedModel& saved);
  absl::Status Repeat(const Record& record);
  void Note(const Command& command, const StepResult& result, absl::Time now);
  SavedModel Saved() const;
  Snapshot TakeSnapshot();
  bool SnapshotIsDue() const;
  void AppendRecords(Done done);

  std::string id_;
  DurableOptions options_;
  std::unique_ptr<Learner> learner_;
  std::unique_ptr<Journal> journal_;  // null: a follower
  Position at_;                       // behind what was read
  Averages averages_;
  absl::Time create_time_, update_time_, snapshot_time_;
  int64_t version_ = NewVersion();
  std::vector<Record> records_;  // applied, not yet committed
  // Since the newest snapshot.
  absl::Duration replay_time_;
  int64_t journal_bytes_ = 0;
  absl::Duration save_time_;  // of the newest snapshot
  const std::shared_ptr<std::atomic<bool>> snapshot_under_way_ =
      std::make_shared<std::atomic<bool>>(false);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_DURABLE_MODEL_H_
