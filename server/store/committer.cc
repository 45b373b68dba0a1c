#include "server/store/committer.h"

#include <cerrno>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/store/broken.h"
#include "server/store/catalog.h"
#include "server/store/errors.h"

namespace lazynorm {

Committer::Committer(std::unique_ptr<Database> database, JournalFile* journal, int checkpoint_pages,
                     StoreHooks hooks, RowsKept rows_kept)
    : database_(std::move(database)),
      journal_(journal),
      checkpoint_pages_(checkpoint_pages),
      hooks_(std::move(hooks)),
      rows_kept_(std::move(rows_kept)) {
  sqlite3_wal_hook(
      database_->handle(),
      [](void* pages, sqlite3*, const char*, int count) {
        *static_cast<int*>(pages) = count;
        return SQLITE_OK;
      },
      &wal_pages_);
  thread_ = std::thread([this] { Loop(); });
}

Committer::~Committer() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
  DropChores();
  if (failure().ok()) Checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
}

void Committer::Submit(Write write) {
  MutexLock lock(&mutex_);
  writes_.push_back(std::move(write));
  changed_.NotifyOne();
}

absl::Status Committer::SubmitAndWait(Write write) {
  std::promise<absl::Status> promise;
  write.done = [&promise](absl::Status status) { promise.set_value(std::move(status)); };
  Submit(std::move(write));
  return promise.get_future().get();
}

void Committer::Submit(Chore chore, absl::AnyInvocable<void(absl::Status)> dropped) {
  MutexLock lock(&mutex_);
  chores_.push_back({std::move(chore), std::move(dropped)});
  changed_.NotifyOne();
}

absl::Status Committer::failure() const {
  MutexLock lock(&mutex_);
  return failure_;
}

void Committer::Loop() {
  while (true) {
    std::vector<Write> group;
    {
      MutexLock lock(&mutex_);
      while (writes_.empty() && chores_.empty() && fatal_.empty() && !stopping_) {
        changed_.Wait(&mutex_);
      }
      if (writes_.empty() && stopping_) return;
      group.swap(writes_);
    }
    if (!group.empty()) CommitGroup(std::move(group));
    StepChore();
    if (CheckpointIsDue()) Checkpoint(SQLITE_CHECKPOINT_PASSIVE);
    TellFatal();
  }
}

std::vector<absl::Status> Committer::Admit(std::vector<Write>& group) {
  const absl::Status failure = this->failure();
  std::vector<absl::Status> admitted;
  for (const Write& write : group) {
    absl::Status status = failure;
    if (status.ok() && write.lineage != nullptr) status = write.lineage->broken;
    if (write.ends != nullptr && write.ends->broken.ok()) write.ends->broken = write.ends_with;
    admitted.push_back(std::move(status));
  }
  return admitted;
}

absl::Status Committer::Change(std::vector<Write>& group, const std::vector<absl::Status>& admitted,
                               const std::vector<ModelRows*>& rows) {
  absl::Status status;
  for (size_t i = 0; status.ok() && i < group.size(); ++i) {
    if (admitted[i].ok() && group[i].apply) status = group[i].apply(*database_);
  }
  for (const ModelRows* model : rows) {
    for (const JournalRow& row : model->rows) {
      if (status.ok()) status = InsertRow(*database_, model->model_id, row);
    }
  }
  return status;
}

bool Committer::FillFrame(const std::vector<ModelRows*>& rows) {
  frame_.Clear();
  for (const ModelRows* model : rows) {
    for (const JournalRow& row : model->rows) {
      // Before it is copied: some are huge.
      if (!journal_->Fits(frame_.bytes() + static_cast<int64_t>(row.record.payload.size()))) {
        return false;
      }
      frame_.Add(model->model_id, row);
    }
  }
  return journal_->Fits(frame_.bytes());
}

absl::Status Committer::AppendFrame(const std::vector<ModelRows*>& rows) {
  const absl::StatusOr<std::vector<Place>> places = journal_->Append(frame_);
  if (!places.ok()) return places.status();
  auto place = places->begin();
  for (ModelRows* model : rows) {
    const auto end = place + static_cast<std::ptrdiff_t>(model->rows.size());
    model->places.assign(place, end);
    place = end;
  }
  return absl::OkStatus();
}

absl::Status Committer::Apply(std::vector<Write>& group,
                              const std::vector<absl::Status>& admitted) {
  int64_t records = 0, bytes = 0;
  bool changes = false;
  std::vector<ModelRows*> rows;
  for (size_t i = 0; i < group.size(); ++i) {
    if (!admitted[i].ok()) continue;
    changes = changes || group[i].apply;
    if (group[i].rows.rows.empty()) continue;
    rows.push_back(&group[i].rows);
    records += static_cast<int64_t>(group[i].rows.rows.size());
    for (const JournalRow& row : group[i].rows.rows) {
      bytes += static_cast<int64_t>(row.record.payload.size());
    }
  }
  if (!changes && rows.empty()) return absl::OkStatus();
  const absl::Time start = absl::Now();
  const bool as_frame = journal_ != nullptr && !changes && FillFrame(rows);
  absl::Status status = as_frame
                            ? AppendFrame(rows)
                            : database_->Transaction([&] { return Change(group, admitted, rows); });
  if (status.ok() && records > 0 && hooks_.on_commit) {
    hooks_.on_commit(absl::Now() - start, records, bytes);
  }
  return status;
}

void Committer::TellKept(std::vector<Write>& group, const std::vector<absl::Status>& heard) {
  std::vector<const Write*> kept;
  for (size_t i = 0; i < group.size(); ++i) {
    if (!heard[i].ok()) continue;
    if (group[i].committed) group[i].committed();
    if (!group[i].rows.rows.empty()) kept.push_back(&group[i]);
  }
  if (!kept.empty()) rows_kept_(kept);
}

void Committer::CommitGroup(std::vector<Write> group) {
  std::vector<absl::Status> heard = Admit(group);
  if (kBroken == Broken::kAnswerBeforeSync) {
    for (size_t i = 0; i < group.size(); ++i) group[i].done(heard[i]);
  }
  const absl::Status kept = Judge(Apply(group, heard));
  for (absl::Status& status : heard) {
    if (status.ok()) status = kept;
  }
  TellKept(group, heard);
  for (size_t i = 0; i < group.size(); ++i) {
    Write& write = group[i];
    if (!heard[i].ok() && write.lineage != nullptr && write.lineage->broken.ok()) {
      write.lineage->broken = heard[i];
    }
    if (kBroken != Broken::kAnswerBeforeSync) write.done(std::move(heard[i]));
  }
}

void Committer::StepChore() {
  PendingChore chore;
  {
    MutexLock lock(&mutex_);
    if (chores_.empty()) return;
    chore = std::move(chores_.front());
    chores_.pop_front();
  }
  absl::Status failed = failure();
  if (failed.ok()) {
    const absl::StatusOr<bool> more = chore.step(*database_);
    if (more.ok() && !*more) return;
    if (more.ok()) {
      MutexLock lock(&mutex_);
      chores_.push_front(std::move(chore));
      return;
    }
    failed = Judge(more.status());
  }
  if (chore.dropped) chore.dropped(failed);
}

void Committer::DropChores() {
  std::deque<PendingChore> chores;
  {
    MutexLock lock(&mutex_);
    chores.swap(chores_);
  }
  for (PendingChore& chore : chores) {
    if (chore.dropped) chore.dropped(absl::CancelledError("the store was closed"));
  }
}

bool Committer::CheckpointIsDue() const {
  MutexLock lock(&mutex_);
  const int pages = writes_.empty() ? checkpoint_pages_ / 4 : checkpoint_pages_;
  return wal_pages_ >= pages && failure_.ok();
}

void Committer::Checkpoint(int mode) {
  errno = 0;
  const int code = sqlite3_wal_checkpoint_v2(database_->handle(), nullptr, mode, nullptr, nullptr);
  wal_pages_ = 0;  // the next commit tells again
  if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY) return;
  const absl::Status status = Judge(database_->Error(code, "checkpoint"));
  if (hooks_.on_warning) hooks_.on_warning(std::string(status.message()));
}

absl::Status Committer::Judge(absl::Status status) {
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  return Fail(status.message());
}

absl::Status Committer::Fail(absl::string_view message) {
  MutexLock lock(&mutex_);
  if (failure_.ok()) {
    fatal_ = absl::StrCat("the store has failed, start again to recover: ", message);
    failure_ = StoreFailed(
        absl::StrCat(fatal_,
                     "; whether the latest records were kept is unknown, a retry must carry "
                     "the same request_id"));
    changed_.NotifyAll();
  }
  return failure_;
}

void Committer::TellFatal() {
  std::string fatal;
  {
    MutexLock lock(&mutex_);
    fatal.swap(fatal_);
  }
  if (!fatal.empty() && hooks_.on_fatal) hooks_.on_fatal(fatal);
}

}  // namespace lazynorm
