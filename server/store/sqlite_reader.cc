#include "server/store/sqlite_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/read_back.h"

namespace lazynorm {
namespace {

constexpr size_t kRowsAtOnce = 256;
constexpr size_t kBytesAtOnce = size_t{4} << 20;

// Walks a model's rows behind `at` and holds each to what was before it.
class JournalWalk {
 public:
  JournalWalk(Database& db, const ReadRequest& request, Position at, int64_t last_seq)
      : db_(db), request_(request), last_seq_(last_seq), at_(at) {}

  absl::Status Run(const Reader& reader);
  const Position& at() const { return at_; }

 private:
  absl::Status ReadSome(size_t* next, std::vector<JournalRow>* rows);
  absl::StatusOr<JournalRow> ReadRow(const RowPlace& place);
  // A row of the database, and whose it says that it is. Nothing: it cannot be found.
  absl::StatusOr<std::optional<JournalRow>> ReadFromTable(int64_t seq, int64_t* owner);
  // Also says which damaged row lies before this one, if one does.
  absl::Status Damaged(const RowPlace& place, absl::string_view what) const;

  Database& db_;
  const ReadRequest& request_;
  const int64_t last_seq_;
  Position at_;
};

absl::Status JournalWalk::Damaged(const RowPlace& place, absl::string_view what) const {
  const std::string file = place.place.in_file() ? request_.journal->path()
                                                 : absl::StrCat(db_.path(), ": table journal");
  std::string message = absl::StrCat("model \"", request_.model.name, "\" is damaged: ", file,
                                     ", seq ", place.seq, ": ", what);
  for (const int64_t damaged : request_.model.damaged_rows) {
    if (damaged > at_.seq && damaged < place.seq) {
      absl::StrAppend(&message, "; the checksum of seq ", damaged, " is wrong");
    }
  }
  return ModelDamaged(message);
}

absl::StatusOr<std::optional<JournalRow>> JournalWalk::ReadFromTable(int64_t seq, int64_t* owner) {
  Query query(db_,
              "SELECT model_id, step, kind, request_id, chain, checksum, payload FROM journal "
              "WHERE seq = ?",
              seq);
  if (!query.Next()) {
    if (!query.status().ok() && !absl::IsDataLoss(query.status())) return query.status();
    return std::nullopt;
  }
  JournalRow row;
  row.record = {query.Int(1), static_cast<int32_t>(query.Int(2)), std::string(query.Bytes(3)),
                std::string(query.Bytes(6))};
  row.at = {seq, query.Int(1), static_cast<uint64_t>(query.Int(4))};
  row.checksum = static_cast<uint64_t>(query.Int(5));
  *owner = query.Int(0);
  return row;
}

absl::StatusOr<JournalRow> JournalWalk::ReadRow(const RowPlace& place) {
  int64_t owner = request_.model.model_id;
  std::optional<JournalRow> row;
  if (place.place.in_file()) {
    absl::StatusOr<JournalRow> read = request_.journal->Read(place.place, place.seq);
    if (!read.ok()) return read.status();
    row = *std::move(read);
  } else {
    absl::StatusOr<std::optional<JournalRow>> read = ReadFromTable(place.seq, &owner);
    if (!read.ok()) return read.status();
    row = *std::move(read);
  }
  if (!row.has_value()) return Damaged(place, "the row cannot be found");
  const std::string fault = FaultOf(*row, owner, request_.model.model_id, at_);
  if (!fault.empty()) return Damaged(place, fault);
  return *std::move(row);
}

absl::Status JournalWalk::ReadSome(size_t* next, std::vector<JournalRow>* rows) {
  absl::Status status = db_.Run("BEGIN");
  size_t bytes = 0;
  const std::deque<RowPlace>& places = request_.model.rows;
  for (; status.ok() && *next < places.size(); ++*next) {
    if (rows->size() == kRowsAtOnce || bytes > kBytesAtOnce) break;
    const RowPlace& place = places[*next];
    if (place.seq > last_seq_) *next = places.size();
    if (*next == places.size()) break;
    absl::StatusOr<JournalRow> row = ReadRow(place);
    status = row.status();
    if (!status.ok()) break;
    at_ = row->at;
    bytes += row->record.payload.size();
    rows->push_back(*std::move(row));
  }
  const absl::Status ended = db_.Run("COMMIT");
  return status.ok() ? ended : status;
}

absl::Status JournalWalk::Run(const Reader& reader) {
  const std::deque<RowPlace>& places = request_.model.rows;
  const auto first =
      std::upper_bound(places.begin(), places.end(), at_.seq,
                       [](int64_t seq, const RowPlace& place) { return seq < place.seq; });
  auto next = static_cast<size_t>(first - places.begin());
  while (next < places.size()) {
    std::vector<JournalRow> rows;
    const absl::Status read = ReadSome(&next, &rows);
    // What is before the damage is good and the reader's.
    for (const JournalRow& row : rows) {
      if (!reader.on_record) continue;
      absl::Status status = reader.on_record(row.at, row.record);
      if (!status.ok()) return status;
    }
    if (!read.ok()) return read;
  }
  return absl::OkStatus();
}

// What the chain cannot show: that there was more.
absl::Status CheckEnd(const std::string& path, const ReadRequest& request, const Position& end) {
  const std::string& name = request.model.name;
  for (const int64_t seq : request.model.damaged_rows) {
    if (seq > end.seq) {
      return ModelDamaged(absl::StrCat("model \"", name, "\" is damaged: ", path,
                                       " or the file of its journal: seq ", seq,
                                       ": the checksum is wrong"));
    }
  }
  if (end.seq == 0) {
    return ModelDamaged(absl::StrCat("model \"", name, "\" is damaged: ", path,
                                     ": table journal: its first record is gone"));
  }
  const std::optional<Position>& acknowledged = request.acknowledged;
  if (!acknowledged.has_value() || acknowledged->seq < end.seq || *acknowledged == end) {
    return absl::OkStatus();
  }
  return ModelDamaged(absl::StrCat(
      "model \"", name, "\" is damaged: ", path, " or its journal ends at seq ", end.seq, ", step ",
      end.step, ", but seq ", acknowledged->seq, ", step ", acknowledged->step,
      " had been acknowledged; to go on from there, remove the file lazynorm.marks beside it"));
}

// Whether the journal still has the model's first record.
bool ReachesBackToItsFirst(Database& db, const ReadRequest& request) {
  const ModelEntry& model = request.model;
  if (model.rows.empty()) return false;
  JournalWalk first(db, request, {0, 0, FirstChain(model.name)}, model.rows.front().seq);
  return first.Run({}).ok();
}

// Where the model last stood at `step`: a restored checkpoint takes it back to an earlier one.
absl::StatusOr<int64_t> LastSeqAt(Database& db, const ReadRequest& request, int64_t step) {
  const ModelEntry& model = request.model;
  int64_t seq = 0, newest = -1;
  for (const RowPlace& row : model.rows) {
    newest = std::max(newest, row.step);
    if (row.step == step) seq = row.seq;
  }
  for (const Manifest& snapshot : model.snapshots) {
    newest = std::max(newest, snapshot.at.step);
    if (snapshot.at.step == step) seq = std::max(seq, snapshot.at.seq);
  }
  // What is before the oldest of them is on its way out, or was when fewer were to be kept.
  const int64_t oldest = model.snapshots.empty() ? 0 : model.snapshots.front().at.seq;
  if (seq > 0 && seq >= oldest) return seq;
  const bool all = model.snapshots.size() < request.snapshots_kept;
  if (seq > 0 && all && ReachesBackToItsFirst(db, request)) return seq;
  return NoSuchStep(model.name, step, newest);
}

}  // namespace

absl::Status ReaderPool::Run(const std::function<absl::Status(Database&)>& read) {
  std::unique_ptr<Database> db;
  {
    MutexLock lock(&mutex_);
    if (!idle_.empty()) {
      db = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (db == nullptr) {
    absl::StatusOr<std::unique_ptr<Database>> opened =
        Database::Open(path_, Database::Mode::kReadOnly);
    if (!opened.ok()) return opened.status();
    db = *std::move(opened);
  }
  absl::Status status = read(*db);
  MutexLock lock(&mutex_);
  idle_.push_back(std::move(db));
  return status;
}

absl::StatusOr<std::string> ReadSnapshot(Database& db, const Manifest& manifest) {
  std::string bytes;
  Query query(
      db, "SELECT data FROM snapshot_chunk WHERE chunk_id >= ? AND chunk_id < ? ORDER BY chunk_id",
      ChunkId(manifest.id, 0), ChunkId(manifest.id, manifest.chunks));
  while (query.Next()) {
    const absl::string_view chunk = query.Bytes(0);
    bytes.append(chunk.data(), chunk.size());
  }
  if (!query.status().ok() && !absl::IsDataLoss(query.status())) return query.status();
  if (query.status().ok() && Digest(bytes) == manifest.digest) return bytes;
  return SnapshotDamaged(db.path(), manifest);
}

absl::StatusOr<Position> ReadModel(Database& db, const ReadRequest& request, const Reader& reader) {
  const ModelEntry& model = request.model;
  int64_t last_seq = std::numeric_limits<int64_t>::max();
  if (request.last_step.has_value()) {
    const absl::StatusOr<int64_t> seq = LastSeqAt(db, request, *request.last_step);
    if (!seq.ok()) return seq.status();
    last_seq = *seq;
  }
  std::vector<std::string> warnings;
  for (const auto& [id, damage] : model.damaged_manifests) warnings.push_back(damage);
  const absl::StatusOr<Position> at = ReadNewestSnapshot(
      model.name, model.snapshots, last_seq, std::move(warnings),
      [&db](const Manifest& manifest) { return ReadSnapshot(db, manifest); }, reader);
  if (!at.ok()) return at.status();
  JournalWalk walk(db, request, *at, last_seq);
  absl::Status status = walk.Run(reader);
  if (status.ok() && !request.last_step.has_value()) {
    status = CheckEnd(db.path(), request, walk.at());
  }
  if (!status.ok()) return status;
  return walk.at();
}

absl::StatusOr<Position> ReadModelHistory(Database& db, const ReadRequest& request,
                                          const Reader& reader) {
  const ModelEntry& model = request.model;
  const auto walk = [&](const Position& from, const Reader& records) -> absl::StatusOr<Position> {
    JournalWalk journal(db, request, from, std::numeric_limits<int64_t>::max());
    absl::Status status = journal.Run(records);
    if (!status.ok()) return status;
    return journal.at();
  };
  const absl::StatusOr<Position> end = ReadWholeHistory(
      model.name, model.snapshots, ReachesBackToItsFirst(db, request),
      [&](const Manifest& manifest) { return ReadSnapshot(db, manifest); }, walk, reader);
  if (!end.ok()) return end;
  absl::Status status = CheckEnd(db.path(), request, *end);
  if (!status.ok()) return status;
  return end;
}

}  // namespace lazynorm
