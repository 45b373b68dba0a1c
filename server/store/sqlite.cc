#include "server/store/sqlite.h"

#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  const int flags =
      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
      (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  auto database = absl::WrapUnique(new Database(db, path));
  if (code != SQLITE_OK) return database->Error(code, "opening");
  sqlite3_busy_timeout(db, 5000);  // a reader may meet the recovery of the write-ahead log
  // Closing must not write: who owns the connection checkpoints, and looks at the answer.
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  return database;
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

absl::Status Database::Execute(const std::string& sql) {
  errno = 0;
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code, sql.substr(0, 60));
}

absl::Status Database::Transaction(const std::function<absl::Status()>& body) {
  absl::Status status = Run("BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  status = body();
  if (status.ok()) status = Run("COMMIT");
  if (!status.ok() && sqlite3_get_autocommit(db_) == 0) {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  return status;
}

absl::Status Database::Error(int code, absl::string_view doing) const {
  // SQLite keeps no errno of a failed COMMIT; whoever got here set errno to 0 before the call.
  const int last = errno;
  const int system = sqlite3_system_errno(db_) != 0 ? sqlite3_system_errno(db_) : last;
  const int primary = code & 0xff;
  std::string message =
      absl::StrCat(path_, ": ", doing, ": ", sqlite3_errstr(code), " (SQLite ", code, ")");
  if (primary == SQLITE_IOERR && system != 0) absl::StrAppend(&message, ": ", strerror(system));
  const bool no_space = system == ENOSPC || system == EDQUOT || system == EFBIG;
  const bool writing = code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_SHMSIZE;
  if (primary == SQLITE_FULL || (writing && no_space)) return StoreFull(message);
  absl::Status failed = StoreFailed(message);
  if (primary != SQLITE_CORRUPT && primary != SQLITE_NOTADB) return failed;
  absl::Status corrupt(absl::StatusCode::kDataLoss, message);
  failed.ForEachPayload([&corrupt](absl::string_view url, const absl::Cord& payload) {
    corrupt.SetPayload(url, payload);
  });
  return corrupt;
}

sqlite3_stmt* Database::Prepare(absl::string_view sql, int* code) {
  const auto known = statements_.find(sql);
  if (known != statements_.end()) return known->second;
  sqlite3_stmt* statement = nullptr;
  *code = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                             SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (statement != nullptr) statements_.emplace(sql, statement);
  return statement;
}

void Query::Prepare(absl::string_view sql) {
  int code = SQLITE_OK;
  statement_ = db_.Prepare(sql, &code);
  if (statement_ == nullptr) status_ = db_.Error(code, sql);
}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool Query::Next() {
  if (!status_.ok()) return false;
  errno = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = db_.Error(code, sqlite3_sql(statement_));
  return false;
}

absl::string_view Query::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return {static_cast<const char*>(bytes), static_cast<size_t>(size)};
}

void Query::Bind(int index, int64_t value) {
  if (statement_ != nullptr) sqlite3_bind_int64(statement_, index, value);
}

void Query::Bind(int index, absl::string_view blob) {
  if (statement_ == nullptr) return;
  // A null pointer would be NULL, not an empty blob.
  const int code = sqlite3_bind_blob64(statement_, index, blob.empty() ? "" : blob.data(),
                                       blob.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) status_ = db_.Error(code, "binding");
}

void Query::Bind(int index, Text text) {
  if (statement_ == nullptr) return;
  sqlite3_bind_text64(statement_, index, text.text.empty() ? "" : text.text.data(),
                      text.text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

}  // namespace lazynorm
