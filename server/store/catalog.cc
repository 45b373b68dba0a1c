#include "server/store/catalog.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// The model, put down as missing if there is no row of it.
ModelEntry& Entry(Catalog& catalog, int64_t model_id, absl::string_view name,
                  const std::string& damage) {
  std::shared_ptr<ModelEntry>& entry = catalog.models[model_id];
  if (entry == nullptr) {
    entry = std::make_shared<ModelEntry>();
    entry->model_id = model_id;
    entry->name = name.empty() ? absl::StrCat("?", model_id) : std::string(name);
    entry->damage = ModelDamaged(damage);
    catalog.last_model_id = std::max(catalog.last_model_id, model_id);
  }
  return *entry;
}

absl::Status LoadModels(Database& db, const std::map<int64_t, Marks::Mark>& marks,
                        Catalog* catalog) {
  Query query(db, "SELECT model_id, name, deleted, checksum FROM model ORDER BY model_id");
  while (query.Next()) {
    const int64_t id = query.Int(0);
    auto entry = std::make_shared<ModelEntry>();
    entry->model_id = id;
    entry->name = std::string(query.Bytes(1));
    entry->deleted = query.Int(2) != 0;
    if (query.Int(3) != ModelChecksum(id, entry->name, query.Int(2) != 0)) {
      const auto mark = marks.find(id);
      entry->deleted = false;
      entry->name = mark == marks.end() ? absl::StrCat("?", id) : mark->second.model;
      entry->damage = ModelDamaged(
          absl::StrCat(db.path(), ": table model, row ", id, ": the checksum is wrong"));
    }
    catalog->last_model_id = std::max(catalog->last_model_id, id);
    catalog->models[id] = std::move(entry);
  }
  for (const auto& [id, mark] : marks) {
    Entry(*catalog, id, mark.model,
          absl::StrCat(db.path(), ": table model: the row of model \"", mark.model, "\" (", id,
                       ") is gone"));
  }
  return query.status();
}

absl::Status LoadManifests(Database& db, Catalog* catalog) {
  Query query(db,
              "SELECT snapshot_id, model_id, seq, step, chain, chunks, bytes, digest, "
              "numeric_fingerprint, is_checkpoint, label, create_time, checksum FROM snapshot "
              "ORDER BY snapshot_id");
  while (query.Next()) {
    Manifest m;
    m.id = query.Int(0);
    m.model_id = query.Int(1);
    m.at = {query.Int(2), query.Int(3), static_cast<uint64_t>(query.Int(4))};
    m.chunks = query.Int(5);
    m.bytes = query.Int(6);
    m.digest = std::string(query.Bytes(7));
    m.numeric_fingerprint = std::string(query.Bytes(8));
    m.is_checkpoint = query.Int(9) != 0;
    m.label = std::string(query.Bytes(10));
    m.create_time = absl::FromUnixMicros(query.Int(11));
    const std::string place = absl::StrCat(db.path(), ": table snapshot, row ", m.id);
    if (query.Int(12) == ManifestChecksum(m)) {
      catalog->last_seq = std::max(catalog->last_seq, m.at.seq);
      ModelEntry& model =
          Entry(*catalog, m.model_id, "", absl::StrCat(place, ": its model is gone"));
      (m.is_checkpoint ? model.checkpoints : model.snapshots).push_back(std::move(m));
      continue;
    }
    const std::string damage = absl::StrCat(place, ": the checksum is wrong");
    catalog->warnings.push_back(damage);
    const auto claimed = catalog->models.find(m.model_id);
    if (claimed != catalog->models.end()) claimed->second->damaged_manifests[m.id] = damage;
  }
  return query.status();
}

absl::Status LoadRows(Database& db, Catalog* catalog) {
  Query query(db,
              "SELECT seq, model_id, step, kind, request_id, chain, checksum, payload FROM journal "
              "ORDER BY seq");
  Record record;
  while (query.Next()) {
    const Position at = {query.Int(0), query.Int(2), static_cast<uint64_t>(query.Int(5))};
    const int64_t model_id = query.Int(1);
    record.step = at.step;
    record.kind = static_cast<int32_t>(query.Int(3));
    record.request_id = std::string(query.Bytes(4));
    const uint64_t checksum = RowChecksum(model_id, at, record, ContentHash(query.Bytes(7)));
    if (query.Int(6) == static_cast<int64_t>(checksum) && query.Int(3) == record.kind) {
      catalog->last_seq = std::max(catalog->last_seq, at.seq);
      Entry(*catalog, model_id, "",
            absl::StrCat(db.path(), ": table journal, seq ", at.seq, ": its model ", model_id,
                         " is gone"))
          .rows.push_back({at.seq, at.step, {}});
      continue;
    }
    // Whose it really was shows in whose chain has a gap.
    catalog->warnings.push_back(
        absl::StrCat(db.path(), ": table journal, seq ", at.seq, ": the checksum is wrong"));
    const auto claimed = catalog->models.find(model_id);
    if (claimed != catalog->models.end()) claimed->second->damaged_rows.push_back(at.seq);
  }
  return query.status();
}

absl::Status LoadCounters(Database& db, Catalog* catalog) {
  Query query(db, "SELECT name, seq FROM sqlite_sequence");
  while (query.Next()) {
    int64_t& last = query.Bytes(0) == "model" ? catalog->last_model_id : catalog->last_snapshot_id;
    last = std::max(last, query.Int(1));
  }
  return query.status();
}

uint64_t TrimmedChecksum(int64_t model_id, int64_t seq) {
  return ContentHash(absl::StrCat("trimmed,", model_id, ",", seq));
}

// By model_id.
absl::StatusOr<std::map<int64_t, int64_t>> LoadTrimmed(Database& db, Catalog* catalog) {
  std::map<int64_t, int64_t> trimmed;
  Query query(db, "SELECT model_id, seq, checksum FROM trimmed");
  while (query.Next()) {
    const int64_t id = query.Int(0);
    if (query.Int(2) == static_cast<int64_t>(TrimmedChecksum(id, query.Int(1)))) {
      trimmed[id] = query.Int(1);
      continue;
    }
    const std::string damage =
        absl::StrCat(db.path(), ": table trimmed, row ", id, ": the checksum is wrong");
    catalog->warnings.push_back(damage);
    const auto claimed = catalog->models.find(id);
    if (claimed != catalog->models.end()) claimed->second->damage = ModelDamaged(damage);
  }
  if (!query.status().ok()) return query.status();
  return trimmed;
}

// The frames that were cut off, and how many of their records count. One that is found now is put
// down, for good: when others follow, it can no longer be told; and one that is out of sight behind
// a newer frame may come to light again, when that one is damaged or written over.
absl::StatusOr<std::vector<FoundRecord>> FindRecords(Database& db, JournalFile& journal,
                                                     Catalog* catalog) {
  std::map<int64_t, int64_t> torn;
  {
    Query query(db, "SELECT frame, records FROM torn");
    while (query.Next()) torn[query.Int(0)] = query.Int(1);
    if (!query.status().ok()) return query.status();
  }
  absl::StatusOr<std::vector<FoundRecord>> found = journal.Find(torn);
  if (!found.ok()) return found;
  if (journal.torn().first == 0) return found;
  const auto& [frame, records] = journal.torn();
  const absl::Status kept = db.Run("INSERT INTO torn VALUES(?, ?)", frame, records);
  catalog->journal_full = absl::IsResourceExhausted(kept);
  if (!kept.ok() && !catalog->journal_full) return kept;
  return found;
}

// Whose records these are, if they may still be there; null for those of a model that was deleted.
ModelEntry* OwnerOf(const FoundRecord& record, const std::string& path, int64_t last_model_id,
                    Catalog* catalog) {
  const auto known = catalog->models.find(record.model_id);
  if (known != catalog->models.end()) return known->second.get();
  if (record.model_id <= last_model_id) return nullptr;
  return &Entry(
      *catalog, record.model_id, "",
      absl::StrCat(path, ": seq ", record.seq, ": its model ", record.model_id, " is gone"));
}

// A record that was moved within the file may be found twice; one that is needed no more, too.
absl::Status LoadFile(Database& db, JournalFile& journal, Catalog* catalog) {
  const absl::StatusOr<std::map<int64_t, int64_t>> trimmed = LoadTrimmed(db, catalog);
  if (!trimmed.ok()) return trimmed.status();
  absl::StatusOr<std::vector<FoundRecord>> found = FindRecords(db, journal, catalog);
  if (!found.ok()) return found.status();
  std::sort(found->begin(), found->end(), [](const FoundRecord& a, const FoundRecord& b) {
    return std::tie(a.seq, a.whole, a.frame) < std::tie(b.seq, b.whole, b.frame);
  });
  const int64_t last_model_id = catalog->last_model_id;
  for (size_t i = 0; i < found->size(); ++i) {
    const FoundRecord& record = (*found)[i];
    if (record.whole) catalog->last_seq = std::max(catalog->last_seq, record.seq);
    if (i + 1 < found->size() && (*found)[i + 1].seq == record.seq) continue;  // the last is best
    const auto gone = trimmed->find(record.model_id);
    if (gone != trimmed->end() && record.seq <= gone->second) continue;
    ModelEntry* const owner = OwnerOf(record, journal.path(), last_model_id, catalog);
    if (owner == nullptr) continue;
    if (record.whole) {
      journal.Take(record.place);
      owner->rows.push_back({record.seq, record.step, record.place});
    } else {
      catalog->warnings.push_back(
          absl::StrCat(journal.path(), ": seq ", record.seq, ": the checksum is wrong"));
      owner->damaged_rows.push_back(record.seq);
    }
  }
  for (const auto& [id, model] : catalog->models) {
    std::sort(model->rows.begin(), model->rows.end(),
              [](const RowPlace& a, const RowPlace& b) { return a.seq < b.seq; });
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Catalog> LoadCatalog(Database& db, JournalFile* journal,
                                    const std::map<int64_t, Marks::Mark>& marks) {
  Catalog catalog;
  absl::Status status = LoadModels(db, marks, &catalog);
  if (status.ok()) status = LoadManifests(db, &catalog);
  if (status.ok()) status = LoadRows(db, &catalog);
  if (status.ok()) status = LoadCounters(db, &catalog);
  if (status.ok() && journal != nullptr) status = LoadFile(db, *journal, &catalog);
  if (!status.ok()) return status;
  for (const auto& [id, mark] : marks) catalog.last_seq = std::max(catalog.last_seq, mark.end.seq);
  return catalog;
}

absl::Status InsertModel(Database& db, const ModelEntry& model) {
  return db.Run("INSERT INTO model VALUES(?, ?, 0, ?)", model.model_id, Text{model.name},
                ModelChecksum(model.model_id, model.name, false));
}

absl::Status InsertTombstone(Database& db, const ModelEntry& model) {
  return db.Run("INSERT OR REPLACE INTO model VALUES(?, ?, 1, ?)", model.model_id, Text{model.name},
                ModelChecksum(model.model_id, model.name, true));
}

absl::Status InsertRow(Database& db, int64_t model_id, const JournalRow& row) {
  return db.Run("INSERT INTO journal VALUES(?, ?, ?, ?, ?, ?, ?, ?)", row.at.seq, model_id,
                row.at.step, int64_t{row.record.kind}, absl::string_view(row.record.request_id),
                static_cast<int64_t>(row.at.chain), static_cast<int64_t>(row.checksum),
                absl::string_view(row.record.payload));
}

absl::Status SetTrimmed(Database& db, int64_t model_id, int64_t seq) {
  return db.Run("INSERT OR REPLACE INTO trimmed VALUES(?, ?, ?)", model_id, seq,
                static_cast<int64_t>(TrimmedChecksum(model_id, seq)));
}

absl::Status InsertManifest(Database& db, const Manifest& m) {
  return db.Run("INSERT INTO snapshot VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", m.id,
                m.model_id, m.at.seq, m.at.step, static_cast<int64_t>(m.at.chain), m.chunks,
                m.bytes, absl::string_view(m.digest), Text{m.numeric_fingerprint},
                int64_t{m.is_checkpoint}, Text{m.label}, absl::ToUnixMicros(m.create_time),
                ManifestChecksum(m));
}

}  // namespace lazynorm
