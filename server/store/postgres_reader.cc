#include "server/store/postgres_reader.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"
#include "server/store/read_back.h"

namespace lazynorm {
namespace {

constexpr int64_t kToTheEnd = std::numeric_limits<int64_t>::max();

absl::Status Trimmed() {
  return absl::AbortedError("the journal was trimmed meanwhile");
}

absl::Status Damaged(const PgModel& model, absl::string_view table, absl::string_view what) {
  return ModelDamaged(
      absl::StrCat("model \"", model.name, "\" is damaged: PostgreSQL: table ", table, what));
}

Position PositionIn(const PgRows& rows, int row, int column) {
  return {rows.Int(row, column), rows.Int(row, column + 1),
          static_cast<uint64_t>(rows.Int(row, column + 2))};
}

}  // namespace

struct PgReader::Page {
  std::vector<JournalRow> rows;  // those that are good
  absl::Status fault;            // of the row behind them
  bool trimmed = false;          // the row behind them is gone, as it should be
};

absl::StatusOr<PgRows> PgReader::Run(const std::string& sql,
                                     const std::vector<PgParam>& params) const {
  std::optional<PgRows> rows;
  // A connection may have died since it was last used: reading again does no harm.
  for (const bool again : {false, true}) {
    bool lost = false;
    const absl::Status status = pool_.Run([&](Pg& pg) {
      absl::StatusOr<PgRows> answer = pg.Run(sql, params);
      lost = !pg.usable();
      if (answer.ok()) rows = *std::move(answer);
      return answer.status();
    });
    if (status.ok()) break;
    if (again || !lost) return status;
  }
  return *std::move(rows);
}

absl::StatusOr<PgModel> PgReader::Find(absl::string_view model) const {
  const absl::StatusOr<PgRows> row =
      Run("select model_id, checksum, epoch, last_seq, last_step, last_chain from model where name "
          "= $1 "
          "and not deleted",
          {model});
  if (!row.ok()) return row.status();
  if (row->empty()) return NoSuchModel(model);
  PgModel found = {row->Int(0, 0), std::string(model), row->Int(0, 2), PositionIn(*row, 0, 3)};
  if (row->Int(0, 1) == ModelChecksum(found.id, model, false)) return found;
  return Damaged(found, "model", absl::StrCat(", row ", found.id, ": the checksum is wrong"));
}

absl::StatusOr<std::vector<Manifest>> PgReader::Manifests(
    const PgModel& model, bool checkpoints, std::vector<std::string>* warnings) const {
  const absl::StatusOr<PgRows> rows = Run(
      "select snapshot_id, seq, step, chain, chunks, bytes, digest, numeric_fingerprint, label, "
      "create_time, checksum from snapshot where model_id = $1 and is_checkpoint = $2 "
      "order by snapshot_id",
      {model.id, PgParam::Bool(checkpoints)});
  if (!rows.ok()) return rows.status();
  std::vector<Manifest> manifests;
  for (int i = 0; i < rows->size(); ++i) {
    Manifest m;
    m.id = rows->Int(i, 0);
    m.model_id = model.id;
    m.at = PositionIn(*rows, i, 1);
    m.chunks = rows->Int(i, 4);
    m.bytes = rows->Int(i, 5);
    m.digest = std::string(rows->Bytes(i, 6));
    m.numeric_fingerprint = std::string(rows->Bytes(i, 7));
    m.is_checkpoint = checkpoints;
    m.label = std::string(rows->Bytes(i, 8));
    m.create_time = absl::FromUnixMicros(rows->Int(i, 9));
    if (rows->Int(i, 10) == ManifestChecksum(m)) {
      manifests.push_back(std::move(m));
    } else {
      warnings->push_back(
          absl::StrCat("PostgreSQL: table snapshot, row ", m.id, ": the checksum is wrong"));
    }
  }
  return manifests;
}

absl::StatusOr<std::string> PgReader::Load(const Manifest& manifest) const {
  std::string bytes;
  int64_t no = 0;
  while (no < manifest.chunks) {
    const absl::StatusOr<PgRows> chunks =
        Run("select data from snapshot_chunk where model_id = $1 and snapshot_id = $2 and no >= $3 "
            "and no < $4 order by no limit 16",
            {manifest.model_id, manifest.id, no, manifest.chunks});
    if (!chunks.ok()) return chunks.status();
    if (chunks->empty()) break;
    for (int i = 0; i < chunks->size(); ++i) {
      const absl::string_view data = chunks->Bytes(i, 0);
      bytes.append(data.data(), data.size());
    }
    no += chunks->size();
  }
  if (Digest(bytes) == manifest.digest) return bytes;
  const absl::StatusOr<PgRows> kept =
      Run("select 1 from snapshot where snapshot_id = $1", {manifest.id});
  if (!kept.ok()) return kept.status();
  if (kept->empty()) return absl::AbortedError("the snapshot was taken away meanwhile");
  return SnapshotDamaged("PostgreSQL", manifest);
}

absl::StatusOr<Position> PgReader::ReadSnapshot(const PgModel& model, int64_t last_seq,
                                                const Reader& reader) const {
  constexpr int kTries = 5;
  for (int i = 1;; ++i) {
    std::vector<std::string> warnings;
    const absl::StatusOr<std::vector<Manifest>> manifests = Manifests(model, false, &warnings);
    if (!manifests.ok()) return manifests.status();
    bool gone = false;
    absl::StatusOr<Position> at = ReadNewestSnapshot(
        model.name, *manifests, last_seq, std::move(warnings),
        [&](const Manifest& manifest) {
          absl::StatusOr<std::string> bytes = Load(manifest);
          gone = absl::IsAborted(bytes.status());
          return bytes;
        },
        reader);
    if (!gone || i == kTries) return at;
  }
}

absl::StatusOr<PgReader::Page> PgReader::ReadPage(const PgModel& model, const Position& at,
                                                  int64_t last_seq) const {
  constexpr char kPage[] =
      "select seq, step, chain, kind, request_id, checksum, payload from (select *, "
      "sum(octet_length(payload)) over (order by seq) - octet_length(payload) as before "
      "from journal where model_id = $1 and seq > $2 and seq <= $3 order by seq limit 256) j "
      "where before < 4194304 order by seq";
  const absl::StatusOr<PgRows> rows = Run(kPage, {model.id, at.seq, last_seq});
  if (!rows.ok()) return rows.status();
  Page page;
  Position before = at;
  for (int i = 0; i < rows->size(); ++i) {
    JournalRow row = {PositionIn(*rows, i, 0),
                      {rows->Int(i, 1), static_cast<int32_t>(rows->Int(i, 3)),
                       std::string(rows->Bytes(i, 4)), std::string(rows->Bytes(i, 6))},
                      static_cast<uint64_t>(rows->Int(i, 5))};
    if (row.at.seq != before.seq + 1) {
      absl::Status status = Miss(model, before, &page);
      if (!status.ok()) return status;
      break;
    }
    const std::string what = FaultOf(row, model.id, model.id, before);
    if (!what.empty()) {
      page.fault = Damaged(model, "journal", absl::StrCat(", seq ", row.at.seq, ": ", what));
      break;
    }
    before = row.at;
    page.rows.push_back(std::move(row));
  }
  return page;
}

// Either the row is lost, or a newer snapshot has replaced it and all before it.
absl::Status PgReader::Miss(const PgModel& model, const Position& at, Page* page) const {
  const absl::StatusOr<PgRows> row =
      Run("select exists(select from snapshot where model_id = $1 and seq > $2 and not "
          "is_checkpoint) and not exists(select from journal where model_id = $1 and seq <= $2)",
          {model.id, at.seq});
  if (!row.ok()) return row.status();
  page->trimmed = row->Int(0, 0) != 0;
  if (page->trimmed) return absl::OkStatus();
  page->fault =
      Damaged(model, "journal", absl::StrCat(", seq ", at.seq + 1, ": the row cannot be found"));
  return absl::OkStatus();
}

absl::StatusOr<bool> PgReader::Walk(const PgModel& model, int64_t last_seq, const Reader& reader,
                                    Position* at) const {
  while (at->seq < last_seq) {
    const absl::StatusOr<Page> page = ReadPage(model, *at, last_seq);
    if (!page.ok()) return page.status();
    // What is before the damage is good and the reader's.
    for (const JournalRow& row : page->rows) {
      absl::Status status;
      if (reader.on_record) status = reader.on_record(row.at, row.record);
      if (!status.ok()) return status;
      *at = row.at;
    }
    if (!page->fault.ok()) return page->fault;
    if (page->trimmed) return false;
    if (page->rows.empty()) break;
  }
  return true;
}

absl::StatusOr<bool> PgReader::Knows(const PgModel& model, const Position& at) const {
  if (at == model.end) return true;
  if (at.seq <= 0 || at.seq >= model.end.seq) return false;
  const absl::StatusOr<PgRows> rows =
      Run("select from journal where model_id = $1 and seq = $2 and chain = $3 union all "
          "select from snapshot where model_id = $1 and seq = $2 and chain = $3",
          {model.id, at.seq, static_cast<int64_t>(at.chain)});
  if (!rows.ok()) return rows.status();
  return !rows->empty();
}

absl::StatusOr<bool> PgReader::ReadOn(const PgModel& model, const Reader& reader,
                                      Position* at) const {
  const Position from = *at;
  const absl::StatusOr<bool> known = Knows(model, from);
  if (!known.ok()) return known.status();
  absl::StatusOr<bool> whole = false;
  if (*known) whole = Walk(model, kToTheEnd, reader, at);
  if (!whole.ok() || *whole || *at != from) return whole;
  const absl::StatusOr<Position> snapshot = ReadSnapshot(model, kToTheEnd, reader);
  if (!snapshot.ok()) return snapshot.status();
  *at = *snapshot;
  return Walk(model, kToTheEnd, reader, at);
}

absl::StatusOr<Position> PgReader::ReadFrom(const PgModel& model, Position at,
                                            const Reader& reader) const {
  // Overtaken while reading: the next call begins with the newer snapshot.
  const absl::StatusOr<bool> whole = ReadOn(model, reader, &at);
  if (!whole.ok()) return whole.status();
  return at;
}

absl::StatusOr<Position> PgReader::ReadToEnd(const PgModel& model, const Reader& reader) const {
  Position at = reader.from;
  const absl::StatusOr<bool> whole = ReadOn(model, reader, &at);
  if (!whole.ok()) return whole.status();
  if (!*whole) return Trimmed();
  absl::Status status = EndsAt(model, at);
  if (!status.ok()) return status;
  return at;
}

// That a model which nobody else writes ends where its row says.
absl::Status PgReader::EndsAt(const PgModel& model, const Position& at) const {
  if (at == model.end) return absl::OkStatus();
  const absl::StatusOr<PgModel> now = Find(model.name);
  if (!now.ok()) return now.status();
  if (now->epoch != model.epoch || now->id != model.id) return NotHolder(model.name);
  return Damaged(model, "journal",
                 absl::StrCat(" ends at seq ", at.seq, ", step ", at.step, ", but seq ",
                              model.end.seq, ", step ", model.end.step, " had been acknowledged"));
}

absl::StatusOr<Position> PgReader::ReadHistory(const PgModel& model, const Reader& reader) const {
  std::vector<std::string> warnings;
  const absl::StatusOr<std::vector<Manifest>> manifests = Manifests(model, false, &warnings);
  if (!manifests.ok()) return manifests.status();
  for (const std::string& warning : warnings) {
    if (reader.on_warning) reader.on_warning(warning);
  }
  const absl::StatusOr<PgRows> first =
      Run("select from journal where model_id = $1 and seq = 1", {model.id});
  if (!first.ok()) return first.status();
  absl::StatusOr<Position> end = ReadWholeHistory(
      model.name, *manifests, !first->empty(),
      [this](const Manifest& manifest) { return Load(manifest); },
      [&](const Position& from, const Reader& records) -> absl::StatusOr<Position> {
        Position at = from;
        const absl::StatusOr<bool> whole = Walk(model, kToTheEnd, records, &at);
        if (!whole.ok()) return whole.status();
        if (!*whole) return Trimmed();
        return at;
      },
      reader);
  if (!end.ok()) return end;
  absl::Status status = EndsAt(model, *end);
  if (!status.ok()) return status;
  return end;
}

absl::StatusOr<int64_t> PgReader::LastSeqAt(const PgModel& model, int64_t step) const {
  const absl::StatusOr<PgRows> row =
      Run("select coalesce(max(seq) filter (where step = $2), 0), coalesce(max(step), -1) from "
          "(select seq, step from journal where model_id = $1 union all select seq, step from "
          "snapshot where model_id = $1 and not is_checkpoint) s",
          {model.id, step});
  if (!row.ok()) return row.status();
  std::vector<std::string> warnings;
  const absl::StatusOr<std::vector<Manifest>> manifests = Manifests(model, false, &warnings);
  if (!manifests.ok()) return manifests.status();
  // What is before the oldest of those to be kept is on its way out.
  const size_t kept = static_cast<size_t>(snapshots_kept_), count = manifests->size();
  const int64_t first = count < kept ? 1 : (*manifests)[count - kept].at.seq;
  if (row->Int(0, 0) >= first) return row->Int(0, 0);
  return NoSuchStep(model.name, step, row->Int(0, 1));
}

absl::Status PgReader::ReadAt(const PgModel& model, int64_t step, const Reader& reader) const {
  const absl::StatusOr<int64_t> last = LastSeqAt(model, step);
  if (!last.ok()) return last.status();
  absl::StatusOr<Position> at = ReadSnapshot(model, *last, reader);
  if (!at.ok()) return at.status();
  const absl::StatusOr<bool> whole = Walk(model, *last, reader, &*at);
  if (whole.ok() && !*whole) return NoSuchStep(model.name, step, model.end.step);
  return whole.status();
}

absl::StatusOr<Snapshot> PgReader::ReadCheckpoint(const PgModel& model,
                                                  absl::string_view id) const {
  std::vector<std::string> warnings;
  const absl::StatusOr<std::vector<Manifest>> manifests = Manifests(model, true, &warnings);
  if (!manifests.ok()) return manifests.status();
  for (const Manifest& m : *manifests) {
    if (absl::StrCat(m.id) != id) continue;
    absl::StatusOr<std::string> bytes = Load(m);
    if (absl::IsAborted(bytes.status())) break;
    if (!bytes.ok()) return bytes.status();
    return Snapshot{m.at, m.numeric_fingerprint, *std::move(bytes)};
  }
  for (const std::string& warning : warnings) {
    if (warning == absl::StrCat("PostgreSQL: table snapshot, row ", id, ": the checksum is wrong"))
      return ModelDamaged(warning);
  }
  return NoSuchCheckpoint(model.name, id);
}

}  // namespace lazynorm
