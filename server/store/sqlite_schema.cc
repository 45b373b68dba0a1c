#include "server/store/sqlite_schema.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/store/broken.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// No index beside the rowids: one more B-tree costs the journal a third of its speed or more.
// A chunk's key is snapshot_id * 2^20 + its number. Checksums: record.h, catalog.cc.
constexpr char kVersion1[] = R"(
CREATE TABLE model(model_id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, deleted INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE journal(seq INTEGER PRIMARY KEY, model_id INTEGER NOT NULL, step INTEGER NOT NULL, kind INTEGER NOT NULL, request_id BLOB NOT NULL, chain INTEGER NOT NULL, checksum INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE snapshot_chunk(chunk_id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE snapshot(snapshot_id INTEGER PRIMARY KEY AUTOINCREMENT, model_id INTEGER NOT NULL, seq INTEGER NOT NULL, step INTEGER NOT NULL, chain INTEGER NOT NULL, chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, digest BLOB NOT NULL, numeric_fingerprint TEXT NOT NULL, is_checkpoint INTEGER NOT NULL, label TEXT NOT NULL, create_time INTEGER NOT NULL, checksum INTEGER NOT NULL);
)";

// What must be known of the journal's file (journal_file.h): whose it is; up to where a model's
// records in it are needed no more; of its frames that were cut off, how many records count.
constexpr char kVersion2[] = R"(
CREATE TABLE store(id INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE trimmed(model_id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE torn(frame INTEGER PRIMARY KEY, records INTEGER NOT NULL);
)";

absl::StatusOr<std::string> Read(Database& db, const std::string& sql) {
  Query query(db, sql);
  std::string value;
  if (query.Next()) value = std::string(query.Bytes(0));
  if (!query.status().ok()) return query.status();
  return value;
}

absl::StatusOr<int64_t> ReadNumber(Database& db, const std::string& sql) {
  Query query(db, sql);
  const int64_t value = query.Next() ? query.Int(0) : 0;
  if (!query.status().ok()) return query.status();
  return value;
}

absl::Status Set(Database& db, const std::string& pragma, const std::string& value,
                 const std::string& expected) {
  absl::Status status = db.Execute(absl::StrCat("PRAGMA ", pragma, "=", value));
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> got = Read(db, absl::StrCat("PRAGMA ", pragma));
  if (!got.ok()) return got.status();
  if (*got == expected) return absl::OkStatus();
  return StoreRefused(absl::StrCat(db.path(), ": PRAGMA ", pragma, ": expected ", expected,
                                   ", SQLite answers ", *got));
}

std::string Synchronous(Durability durability) {
  if (kBroken == Broken::kNoSync) return "0";
  switch (durability) {
    case Durability::kFsync:
      return "2";
    case Durability::kAsync:
      return "1";
    case Durability::kNone:
      return "0";
  }
  return "2";
}

// A flipped bit in a table's name would otherwise look like an empty store.
absl::Status CheckTables(Database& db, const std::vector<std::string>& migrations) {
  Query query(db,
              "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name != 'sqlite_sequence'");
  size_t tables = 0;
  while (query.Next()) {
    const std::string sql(query.Bytes(0));
    bool known = false;
    for (const std::string& step : migrations) known = known || absl::StrContains(step, sql + ";");
    if (!known) return StoreRefused(absl::StrCat(db.path(), " is damaged: a table reads ", sql));
    ++tables;
  }
  if (!query.status().ok()) return query.status();
  size_t expected = 0;
  for (const std::string& step : migrations) {
    for (size_t at = step.find("CREATE "); at != std::string::npos;
         at = step.find("CREATE ", at + 1)) {
      ++expected;
    }
  }
  if (tables == expected) return absl::OkStatus();
  return StoreRefused(
      absl::StrCat(db.path(), " is damaged: expected ", expected, " tables, got ", tables));
}

absl::Status CheckOwner(Database& db, int64_t version, int64_t newest) {
  const absl::StatusOr<int64_t> id = ReadNumber(db, "PRAGMA application_id");
  const absl::StatusOr<int64_t> tables = ReadNumber(db, "SELECT count(*) FROM sqlite_schema");
  if (!id.ok()) return id.status();
  if (!tables.ok()) return tables.status();
  if (*id == 0 && *tables == 0 && version == 0) return absl::OkStatus();
  if (*id != kApplicationId) {
    return StoreRefused(absl::StrCat(db.path(), " is not a lazynorm store: its application id is ",
                                     *id, ", expected ", kApplicationId));
  }
  if (version > newest) {
    return StoreRefused(absl::StrCat(db.path(), " has format version ", version,
                                     ", written by a newer lazynorm; this one knows up to ",
                                     newest));
  }
  if (version >= 1) return absl::OkStatus();
  return StoreRefused(
      absl::StrCat(db.path(), " is damaged: it has tables and format version ", version));
}

}  // namespace

const std::vector<std::string>& Migrations() {
  static const auto* const migrations = new std::vector<std::string>{kVersion1, kVersion2};
  return *migrations;
}

absl::Status Migrate(Database& db, const std::vector<std::string>& migrations) {
  const auto newest = static_cast<int64_t>(migrations.size());
  const absl::StatusOr<int64_t> version = ReadNumber(db, "PRAGMA user_version");
  if (!version.ok()) return version.status();
  absl::Status status = CheckOwner(db, *version, newest);
  for (int64_t v = *version; status.ok() && v < newest; ++v) {
    status = db.Transaction([&] {
      return db.Execute(absl::StrCat(migrations[static_cast<size_t>(v)], "PRAGMA application_id=",
                                     kApplicationId, "; PRAGMA user_version=", v + 1, ";"));
    });
  }
  return status.ok() ? CheckTables(db, migrations) : status;
}

absl::Status Configure(Database& db, Durability durability) {
  const std::string synchronous = Synchronous(durability);
  // The page size counts before the first table alone; wal_autocheckpoint is off because SQLite
  // throws away what an automatic checkpoint answers (Committer does it instead).
  const std::string pragmas[][3] = {{"page_size", "8192", "8192"},
                                    {"journal_mode", "WAL", "wal"},
                                    {"synchronous", synchronous, synchronous},
                                    {"secure_delete", "OFF", "0"},
                                    {"wal_autocheckpoint", "0", "0"},
                                    {"journal_size_limit", "67108864", "67108864"},
                                    {"cell_size_check", "ON", "1"},
                                    {"trusted_schema", "OFF", "0"},
                                    {"cache_size", "-16384", "-16384"}};
  absl::Status status = db.Execute("PRAGMA mmap_size=0");
  for (const auto& [name, value, expected] : pragmas) {
    if (status.ok()) status = Set(db, name, value, expected);
  }
  return status;
}

}  // namespace lazynorm
