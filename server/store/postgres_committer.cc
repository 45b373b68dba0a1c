#include "server/store/postgres_committer.h"

#include <algorithm>
#include <future>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/store/broken.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// A statement takes no more payload than this, or one record.
constexpr size_t kMostBytes = size_t{64} << 20;
constexpr absl::Duration kFirstPause = absl::Milliseconds(20), kLongestPause = absl::Seconds(1);

// Append and takeover change the same row, so that the row's lock orders them; whoever waited for
// it looks again at the epoch.
// Should two groups ever wait for each other, PostgreSQL ends one of them: its outcome is unknown.
constexpr char kGroup[] =
    "with g as (select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], "
    "$5::bigint[], $6::bigint[]) as g(model_id, epoch, before, last_seq, last_step, last_chain)), ";
constexpr char kFence[] =
    "f as (update model m set last_seq = g.last_seq, last_step = g.last_step, "
    "last_chain = g.last_chain from g where m.model_id = g.model_id and m.epoch = g.epoch and "
    "m.last_seq = g.before and not m.deleted returning m.model_id, m.epoch), ";
constexpr char kBrokenFence[] =
    "c as (select g.* from g join model m on m.model_id = g.model_id and m.epoch = g.epoch and "
    "m.last_seq = g.before and not m.deleted), f as (update model m set last_seq = c.last_seq, "
    "last_step = c.last_step, last_chain = c.last_chain from c where m.model_id = c.model_id "
    "returning m.model_id, c.epoch), ";
constexpr char kRows[] =
    "j as (insert into journal(model_id, seq, step, epoch, kind, request_id, chain, checksum, "
    "payload) select f.model_id, u.seq, u.step, f.epoch, u.kind, u.request_id, u.chain, "
    "u.checksum, u.payload from unnest($7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], "
    "$11::bigint[], $12::bytea[], $13::bigint[], $14::bigint[], $15::bytea[]) as u(model_id, "
    "epoch, "
    "seq, step, kind, request_id, chain, checksum, payload) "
    "join f on f.model_id = u.model_id and f.epoch = u.epoch) "
    "select model_id, epoch from f";

const std::string& AppendStatement() {
  static const auto* const statement = new std::string(
      absl::StrCat(kGroup, kBroken == Broken::kCheckThenAppend ? kBrokenFence : kFence, kRows));
  return *statement;
}

struct FlatRow {
  const JournalRow* row = nullptr;
  const std::shared_ptr<Tenure>* tenure = nullptr;
};

// The arguments of AppendStatement.
struct Columns {
  std::vector<int64_t> models, epochs, befores, last_seqs, last_steps, last_chains;
  std::vector<int64_t> owners, eras, seqs, steps, kinds, chains, checksums;
  std::vector<absl::string_view> request_ids, payloads;

  void Add(const FlatRow& flat) {
    const JournalRow& row = *flat.row;
    const Tenure& tenure = **flat.tenure;
    if (models.empty() || models.back() != tenure.model_id || epochs.back() != tenure.epoch) {
      models.push_back(tenure.model_id);
      epochs.push_back(tenure.epoch);
      befores.push_back(row.at.seq - 1);
      for (auto* last : {&last_seqs, &last_steps, &last_chains}) last->push_back(0);
    }
    last_seqs.back() = row.at.seq;
    last_steps.back() = row.at.step;
    last_chains.back() = static_cast<int64_t>(row.at.chain);
    owners.push_back(tenure.model_id);
    eras.push_back(tenure.epoch);
    seqs.push_back(row.at.seq);
    steps.push_back(row.at.step);
    kinds.push_back(row.record.kind);
    chains.push_back(static_cast<int64_t>(row.at.chain));
    checksums.push_back(static_cast<int64_t>(row.checksum));
    request_ids.emplace_back(row.record.request_id);
    payloads.emplace_back(row.record.payload);
  }

  std::vector<PgParam> Params() const {
    return {PgParam::Ints(models),    PgParam::Ints(epochs),     PgParam::Ints(befores),
            PgParam::Ints(last_seqs), PgParam::Ints(last_steps), PgParam::Ints(last_chains),
            PgParam::Ints(owners),    PgParam::Ints(eras),       PgParam::Ints(seqs),
            PgParam::Ints(steps),     PgParam::Ints(kinds),      PgParam::Byteas(request_ids),
            PgParam::Ints(chains),    PgParam::Ints(checksums),  PgParam::Byteas(payloads)};
  }
};

}  // namespace

struct PgCommitter::Group {
  std::vector<FlatRow> rows;  // by model, each model's in order
  int64_t bytes = 0;
  std::set<const Tenure*> fenced;
};

absl::Status WhyFenced(Pg& pg, const Tenure& tenure) {
  const absl::StatusOr<PgRows> row =
      pg.Run("select deleted, epoch, last_seq from model where model_id = $1", {tenure.model_id});
  if (!row.ok()) return row.status();
  if (row->empty() || row->Int(0, 0) != 0) return NoSuchModel(tenure.model);
  if (row->Int(0, 1) > tenure.epoch) return NotHolder(tenure.model);
  return StoreFailed(absl::StrCat(pg.name(), ": model \"", tenure.model, "\" stands at seq ",
                                  row->Int(0, 2), " of epoch ", row->Int(0, 1),
                                  ", which is not where its writer left it"));
}

PgCommitter::PgCommitter(PgTarget target, StoreHooks hooks, std::function<int64_t()> replica)
    : target_(std::move(target)),
      hooks_(std::move(hooks)),
      replica_(std::move(replica)),
      pause_(kFirstPause),
      thread_([this] { Loop(); }) {}

PgCommitter::~PgCommitter() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void PgCommitter::Submit(PgWrite write) {
  MutexLock lock(&mutex_);
  writes_.push_back(std::move(write));
  changed_.NotifyOne();
}

absl::Status PgCommitter::SubmitAndWait(PgWrite write) {
  std::promise<absl::Status> promise;
  write.done = [&promise](absl::Status status) { promise.set_value(std::move(status)); };
  Submit(std::move(write));
  return promise.get_future().get();
}

void PgCommitter::Loop() {
  while (true) {
    std::vector<PgWrite> writes;
    {
      MutexLock lock(&mutex_);
      while (writes_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (writes_.empty()) return;
      writes.swap(writes_);
    }
    Commit(std::move(writes));
  }
}

absl::Status PgCommitter::Admit(const PgWrite& write) const {
  if (!write.tenure->broken.ok()) return write.tenure->broken;
  // Whoever lost its lease writes nothing more, though its epochs may still be the latest.
  const int64_t replica = replica_();
  if (write.tenure->holder == replica) return absl::OkStatus();
  return replica == 0 ? CutOff() : NotHolder(write.tenure->model);
}

void PgCommitter::Commit(std::vector<PgWrite> writes) {
  Group group;
  std::vector<absl::Status> heard;
  for (PgWrite& write : writes) {
    heard.push_back(Admit(write));
    Tenure& tenure = *write.tenure;
    if (!heard.back().ok() && tenure.broken.ok()) tenure.broken = heard.back();
    if (!write.ends_with.ok() && tenure.broken.ok()) tenure.broken = write.ends_with;
    if (!heard.back().ok()) continue;
    for (const JournalRow& row : write.rows) {
      group.rows.push_back({&row, &write.tenure});
      group.bytes += static_cast<int64_t>(row.record.payload.size());
    }
  }
  std::stable_sort(group.rows.begin(), group.rows.end(), [](const FlatRow& a, const FlatRow& b) {
    return std::pair((*a.tenure)->model_id, (*a.tenure)->epoch) <
           std::pair((*b.tenure)->model_id, (*b.tenure)->epoch);
  });
  const absl::Status kept = Append(group);
  for (size_t i = 0; i < writes.size(); ++i) {
    PgWrite& write = writes[i];
    Tenure& tenure = *write.tenure;
    if (heard[i].ok() && !write.rows.empty()) {
      heard[i] = kept;
      if (kept.ok() && group.fenced.count(&tenure) > 0) heard[i] = WhyFenced(*pg_, tenure);
      if (!heard[i].ok() && tenure.broken.ok()) tenure.broken = heard[i];
    }
    if (write.done) write.done(std::move(heard[i]));
  }
}

absl::Status PgCommitter::Append(Group& group) {
  if (group.rows.empty()) return absl::OkStatus();
  const absl::Time start = absl::Now();
  absl::Status status = Connect();
  if (!status.ok()) return status;
  std::vector<size_t> ends;
  size_t bytes = 0;
  for (size_t i = 0; i < group.rows.size(); ++i) {
    const size_t size = group.rows[i].row->record.payload.size();
    if (bytes > 0 && bytes + size > kMostBytes) {
      ends.push_back(i);
      bytes = 0;
    }
    bytes += size;
  }
  ends.push_back(group.rows.size());
  const auto append = [&] {
    absl::Status appended;
    size_t begin = 0;
    for (const size_t end : ends) {
      if (appended.ok()) appended = AppendPart(group, begin, end);
      begin = end;
    }
    return appended;
  };
  status = ends.size() == 1 ? append() : pg_->Transaction(append, group.bytes);
  if (status.ok() && hooks_.on_commit) {
    hooks_.on_commit(absl::Now() - start, static_cast<int64_t>(group.rows.size()), group.bytes);
  }
  return status;
}

absl::Status PgCommitter::AppendPart(Group& group, size_t begin, size_t end) {
  Columns columns;
  for (size_t i = begin; i < end; ++i) columns.Add(group.rows[i]);
  const absl::StatusOr<PgRows> held = pg_->Run(AppendStatement(), columns.Params());
  if (!held.ok()) return held.status();
  std::set<std::pair<int64_t, int64_t>> holding;
  for (int i = 0; i < held->size(); ++i) holding.insert({held->Int(i, 0), held->Int(i, 1)});
  for (size_t i = begin; i < end; ++i) {
    const Tenure* const tenure = group.rows[i].tenure->get();
    if (holding.count({tenure->model_id, tenure->epoch}) == 0) group.fenced.insert(tenure);
  }
  return absl::OkStatus();
}

// Nothing was sent, but a caller hears what it hears when the connection breaks a moment later.
absl::Status PgCommitter::Connect() {
  if (pg_ != nullptr && pg_->usable()) return absl::OkStatus();
  pg_ = nullptr;
  if (absl::Now() < next_attempt_) return unreachable_;
  absl::StatusOr<std::unique_ptr<Pg>> pg = Pg::Connect(target_);
  if (pg.ok()) {
    pg_ = *std::move(pg);
    pause_ = kFirstPause;
    return absl::OkStatus();
  }
  unreachable_ = StoreFailed(pg.status().message());
  next_attempt_ = absl::Now() + pause_;
  pause_ = std::min(pause_ * 2, kLongestPause);
  return unreachable_;
}

}  // namespace lazynorm
