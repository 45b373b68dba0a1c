#include "server/hosting/durable_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/kernels.h"
#include "model/status_macros.h"
#include "server/base/log_text.h"

namespace lazynorm {
namespace {

using SteadyClock = std::chrono::steady_clock;

// What a Record's payload is.
enum RecordKind : int32_t { kSavedModel = 1, kCommand = 2 };

// How often the hash of the state goes into the journal, in steps.
constexpr int64_t kHashEvery = 64;
// A snapshot may cost one hundredth of the work that it saves.
constexpr int kSaveShare = 100;
constexpr int64_t kMostJournalBytes = 64 << 20;

std::string CodePath() {
  return std::string(ActiveKernels().level);
}

absl::Status Damaged(int64_t step, absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "MODEL_DAMAGED", "",
                   absl::StrCat("the command before step ", step, " ", what));
}

}  // namespace

absl::Status NoWriter() {
  return MakeError(absl::StatusCode::kUnavailable, "NO_WRITER", "",
                   "no replica writes this model just now; try again shortly");
}

bool IsNoWriter(const absl::Status& status) {
  return absl::IsUnavailable(status) && ReasonOf(status) == "NO_WRITER";
}

absl::StatusOr<std::unique_ptr<DurableModel>> DurableModel::Create(const std::string& id,
                                                                   std::unique_ptr<Learner> learner,
                                                                   const DurableOptions& options) {
  std::unique_ptr<DurableModel> model(new DurableModel(id, options));
  model->learner_ = std::move(learner);
  // As it will be read back.
  model->create_time_ = absl::FromUnixMicros(absl::ToUnixMicros(options.clock->Now()));
  model->update_time_ = model->snapshot_time_ = model->create_time_;
  ASSIGN_OR_RETURN(model->journal_,
                   options.store->Create(id, {.step = model->learner_->step(),
                                              .kind = kSavedModel,
                                              .payload = ToBytes(model->Saved())}));
  return model;
}

absl::StatusOr<std::unique_ptr<DurableModel>> DurableModel::Open(const std::string& id,
                                                                 const DurableOptions& options) {
  std::unique_ptr<DurableModel> model(new DurableModel(id, options));
  ASSIGN_OR_RETURN(model->journal_, options.store->Open(id, ReaderInto(*model)));
  return model;
}

absl::StatusOr<std::unique_ptr<DurableModel>> DurableModel::Follow(const std::string& id,
                                                                   const DurableOptions& options) {
  std::unique_ptr<DurableModel> model(new DurableModel(id, options));
  RETURN_IF_ERROR(model->CatchUp());
  // Another replica is creating it: its name is there, its first record is not.
  if (model->learner_ == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", "",
                     absl::StrCat("the model \"", id, "\" is only being created"));
  }
  return model;
}

absl::Status DurableModel::CatchUp() {
  ASSIGN_OR_RETURN(at_, options_.store->ReadFrom(id_, at_, ReaderInto(*this)));
  return absl::OkStatus();
}

absl::Status DurableModel::StartWriting() {
  Reader reader = ReaderInto(*this);
  reader.from = at_;
  ASSIGN_OR_RETURN(journal_, options_.store->Open(id_, reader));
  return absl::OkStatus();
}

void DurableModel::StopWriting() {
  if (!writes()) return;
  at_ = journal_->end();
  journal_ = nullptr;
}

absl::StatusOr<SavedModel> DurableModel::ReadAt(const std::string& id, int64_t step,
                                                const DurableOptions& options) {
  DurableModel model(id, options);
  RETURN_IF_ERROR(options.store->ReadAt(id, step, ReaderInto(model)));
  return model.Saved();
}

int64_t DurableModel::NewVersion() {
  static std::atomic<int64_t> latest = 0;
  return ++latest;
}

Reader DurableModel::ReaderInto(DurableModel& model) {
  return {.on_snapshot = [&model](const Snapshot& snapshot) -> absl::Status {
            ASSIGN_OR_RETURN(const SavedModel saved, SavedModelFromBytes(snapshot.bytes));
            model.at_ = snapshot.at;
            return model.Take(saved);
          },
          .on_record = [&model](const Position& at, const Record& record) -> absl::Status {
            RETURN_IF_ERROR(model.Repeat(record));
            model.at_ = at;
            return absl::OkStatus();
          },
          .on_warning =
              [](const std::string& warning) {
                spdlog::warn("event=store message={}", LogText(warning));
              }};
}

absl::Status DurableModel::Take(const SavedModel& saved) {
  ASSIGN_OR_RETURN(learner_, Learner::Load(saved.spec, options_.limits, saved.learner));
  averages_ = Averages(saved.averages);
  create_time_ = saved.create_time;
  update_time_ = saved.update_time;
  snapshot_time_ = saved.update_time;
  version_ = NewVersion();
  return absl::OkStatus();
}

absl::Status DurableModel::Repeat(const Record& record) {
  if (record.kind == kSavedModel) {
    ASSIGN_OR_RETURN(const SavedModel saved, SavedModelFromBytes(record.payload));
    return Take(saved);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<StoredCommand> stored,
                   StoredCommand::FromBytes(record.payload));
  if (learner_ == nullptr) return Damaged(record.step, "has no model to act on");
  const auto begin = SteadyClock::now();
  const absl::StatusOr<StepResult> result = learner_->Apply(stored->command());
  if (!result.ok() || learner_->step() != record.step) {
    return Damaged(record.step,
                   absl::StrCat("was accepted then and is not now: ", result.status().message()));
  }
  const CommandTrace& trace = stored->trace();
  const bool comparable = trace.state_hash != 0 && trace.kernels == CodePath();
  if (comparable && learner_->StateHash() != trace.state_hash) {
    return Damaged(record.step, "gives other numbers than it gave then");
  }
  Note(stored->command(), *result, trace.time);
  replay_time_ += absl::FromChrono(SteadyClock::now() - begin);
  journal_bytes_ += static_cast<int64_t>(record.payload.size());
  return absl::OkStatus();
}

// What the host keeps of an applied command beside the learner's own state.
void DurableModel::Note(const Command& command, const StepResult& result, absl::Time now) {
  if (std::holds_alternative<RememberCommand>(command)) return;
  update_time_ = now;
  version_ = NewVersion();
  if (std::holds_alternative<TrainCommand>(command)) {
    averages_.Add(result, learner_->diagnostics());
  }
}

absl::StatusOr<StepResult> DurableModel::Apply(const Command& command) {
  const bool lazy = learner_->lazy(), frozen = learner_->statistics_frozen();
  const auto begin = SteadyClock::now();
  ASSIGN_OR_RETURN(const StepResult result, learner_->Apply(command));
  replay_time_ += absl::FromChrono(SteadyClock::now() - begin);
  const auto* freeze = std::get_if<FreezeStatisticsCommand>(&command);
  const bool nothing = result.replayed ||
                       (std::holds_alternative<ResolveCommand>(command) && !lazy) ||
                       (freeze != nullptr && freeze->frozen == frozen);
  if (nothing) return result;
  CommandTrace trace{.time = options_.clock->Now(), .kernels = CodePath()};
  const auto* train = std::get_if<TrainCommand>(&command);
  if (train != nullptr && learner_->step() % kHashEvery == 0) {
    trace.state_hash = learner_->StateHash();
  }
  Note(command, result, absl::FromUnixMicros(absl::ToUnixMicros(trace.time)));
  Record& record = records_.emplace_back();
  record.step = learner_->step();
  record.kind = kCommand;
  if (train != nullptr) record.request_id = std::string(train->request_id);
  record.payload = ToBytes(command, trace);
  journal_bytes_ += static_cast<int64_t>(record.payload.size());
  return result;
}

void DurableModel::AppendRecords(Done done) {
  journal_->Append(std::exchange(records_, {}), std::move(done));
}

void DurableModel::Commit(Done done) {
  if (!writes()) return done(absl::OkStatus());  // all that it has is durable
  AppendRecords(std::move(done));
  if (!SnapshotIsDue()) return;
  snapshot_under_way_->store(true);
  journal_->WriteSnapshot(TakeSnapshot(), [under_way = snapshot_under_way_](absl::Status status) {
    under_way->store(false);
    if (!status.ok()) spdlog::warn("event=snapshot_failed message={}", LogText(status.message()));
  });
}

void DurableModel::WriteCheckpoint(std::string label,
                                   absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) {
  if (!writes()) return done(NoWriter());
  if (!records_.empty()) AppendRecords([](absl::Status) {});
  journal_->WriteCheckpoint(
      std::move(label), options_.clock->Now(),
      {.at = journal_->end(), .numeric_fingerprint = CodePath(), .bytes = ToBytes(Saved())},
      std::move(done));
}

bool DurableModel::SnapshotIsDue() const {
  if (snapshot_under_way_->load() || replay_time_ < kSaveShare * save_time_) return false;
  const int models = options_.models == nullptr ? 1 : std::max(1, options_.models->load());
  return replay_time_ > options_.replay_budget / models || journal_bytes_ > kMostJournalBytes;
}

SavedModel DurableModel::Saved() const {
  return {.spec = learner_->spec(),
          .learner = learner_->Save(),
          .create_time = create_time_,
          .update_time = update_time_,
          .averages = averages_.Save()};
}

Snapshot DurableModel::TakeSnapshot() {
  const auto begin = SteadyClock::now();
  Snapshot snapshot{
      .at = journal_->end(), .numeric_fingerprint = CodePath(), .bytes = ToBytes(Saved())};
  save_time_ = absl::FromChrono(SteadyClock::now() - begin);
  replay_time_ = absl::ZeroDuration();
  journal_bytes_ = 0;
  snapshot_time_ = options_.clock->Now();
  return snapshot;
}

}  // namespace lazynorm
