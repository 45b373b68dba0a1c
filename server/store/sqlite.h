#ifndef LAZYNORM_SERVER_STORE_SQLITE_H_
#define LAZYNORM_SERVER_STORE_SQLITE_H_

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// One connection to a SQLite database, with its prepared statements. Thread-compatible.
//
// Errors: STORE_FULL if there is no space (ENOSPC, EDQUOT, EFBIG), else STORE_FAILED with SQLite's
// code and errno. A refusal of corrupt pages has the code DATA_LOSS.
class Database {
 public:
  enum class Mode { kReadOnly, kReadWrite };
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs statements that give no rows, or whose rows do not matter.
  absl::Status Execute(const std::string& sql);
  // Runs one statement with arguments, as Query takes them.
  template <typename... Arguments>
  absl::Status Run(absl::string_view sql, const Arguments&... arguments);
  // BEGIN IMMEDIATE, `body`, COMMIT; or a ROLLBACK and the error.
  absl::Status Transaction(const std::function<absl::Status()>& body);
  // An error for SQLite's answer `code`.
  absl::Status Error(int code, absl::string_view doing) const;

  sqlite3* handle() const { return db_; }
  const std::string& path() const { return path_; }

 private:
  friend class Query;
  Database(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  // The prepared statement of a text; null, and `code`, if SQLite does not understand it.
  sqlite3_stmt* Prepare(absl::string_view sql, int* code);

  sqlite3* const db_;
  const std::string path_;
  std::map<std::string, sqlite3_stmt*, std::less<>> statements_;
};

// Text as an argument; a plain string is a blob.
struct Text {
  absl::string_view text;
};

// One run of a statement. One at a time for a statement and a connection:
//   Query query(db, "SELECT name FROM model WHERE model_id = ?", id);
//   while (query.Next()) Use(query.Bytes(0));
//   return query.status();
// Arguments must live as long as the query. Thread-compatible.
class Query {
 public:
  template <typename... Arguments>
  Query(Database& db, absl::string_view sql, const Arguments&... arguments) : db_(db) {
    Prepare(sql);
    int index = 0;
    (Bind(++index, arguments), ...);
  }
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // Runs it again, with other arguments.
  template <typename... Arguments>
  void Restart(const Arguments&... arguments) {
    if (statement_ != nullptr) sqlite3_reset(statement_);
    int index = 0;
    (Bind(++index, arguments), ...);
  }

  // To the next row. False at the end, and after an error.
  bool Next();
  const absl::Status& status() const { return status_; }

  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  // Valid until the next row.
  absl::string_view Bytes(int column) const;

 private:
  void Prepare(absl::string_view sql);
  void Bind(int index, int64_t value);
  void Bind(int index, absl::string_view blob);
  void Bind(int index, Text text);

  Database& db_;
  sqlite3_stmt* statement_ = nullptr;
  absl::Status status_;
};

template <typename... Arguments>
absl::Status Database::Run(absl::string_view sql, const Arguments&... arguments) {
  Query query(*this, sql, arguments...);
  while (query.Next()) continue;
  return query.status();
}

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_SQLITE_H_
