#ifndef LAZYNORM_SERVER_STORE_POSTGRES_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_H_

#include <libpq-fe.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/store/store.h"

namespace lazynorm {

// An argument of a statement, as it goes over the wire. Plain value.
class PgParam {
 public:
  PgParam(int64_t value);           // NOLINT: bigint
  PgParam(absl::string_view text);  // NOLINT: text; lives as long as what it views
  PgParam(const std::string& text) : PgParam(absl::string_view(text)) {}  // NOLINT
  static PgParam Bool(bool value);
  // Lives as long as what it views.
  static PgParam Bytea(absl::string_view bytes);
  static PgParam Ints(const std::vector<int64_t>& values);
  static PgParam Byteas(const std::vector<absl::string_view>& values);

  Oid type() const { return type_; }
  absl::string_view bytes() const { return owns_ ? absl::string_view(owned_) : view_; }

 private:
  PgParam(Oid type, std::string owned) : type_(type), owns_(true), owned_(std::move(owned)) {}
  PgParam(Oid type, absl::string_view view) : type_(type), view_(view) {}

  Oid type_ = 0;
  bool owns_ = false;
  std::string owned_;
  absl::string_view view_;
};

// What a statement answered. Immutable.
class PgRows {
 public:
  explicit PgRows(PGresult* result) : result_(result, PQclear) {}

  int size() const { return PQntuples(result_.get()); }
  bool empty() const { return size() == 0; }
  // How many rows an INSERT, UPDATE or DELETE has touched.
  int64_t touched() const;
  int64_t Int(int row, int column) const;  // of a bigint, integer or boolean; 0 for NULL
  absl::string_view Bytes(int row, int column) const;  // of text or bytea; lives as long as this

 private:
  std::unique_ptr<PGresult, void (*)(PGresult*)> result_;
};

// How a database is reached, and what each connection to it must be like. Plain value.
struct PgTarget {
  std::string uri;
  Durability durability = Durability::kFsync;
  // The server ends a session that is silent for longer; zero: never.
  absl::Duration silence = absl::ZeroDuration();
};

// One connection to PostgreSQL. No call takes longer than its deadline: a server that is gone, or
// stopped, or behind a cut wire, is an error like others. Errors: STORE_FAILED, whether the
// statement was done being unknown; STORE_FULL; MODEL_DAMAGED if PostgreSQL finds a damaged page.
// No message tells the password. Thread-compatible.
class Pg {
 public:
  // FAILED_PRECONDITION (STORE_FAILED) if what commits there would not be durable, or is a standby.
  static absl::StatusOr<std::unique_ptr<Pg>> Connect(const PgTarget& target);
  // INVALID_ARGUMENT if libpq cannot read it.
  static absl::Status CheckUri(const std::string& uri);

  // Prepares the statement the first time. It may take `patience`, and longer for much data.
  absl::StatusOr<PgRows> Run(const std::string& sql, const std::vector<PgParam>& params = {},
                             absl::Duration patience = kPatience);
  // Any number of statements, without arguments.
  absl::Status Execute(const std::string& sql);
  // Runs `work` as one transaction, whose statements have up to `bytes` of arguments.
  absl::Status Transaction(const std::function<absl::Status()>& work, int64_t bytes = 0);

  // False once a new connection is needed.
  bool usable();
  // Waits for notifications, of any channel; true if there were some.
  bool WaitForNotification(absl::Duration time);
  // Such as "PostgreSQL lazynorm at db.example:5432".
  std::string name() const;
  int pid() const { return PQbackendPID(connection_.get()); }

  static constexpr absl::Duration kPatience = absl::Seconds(30);
  // Of every statement for a lock that another session holds.
  static constexpr absl::string_view kLockTimeout = "3s";

 private:
  explicit Pg(PGconn* connection) : connection_(connection, PQfinish) {}

  absl::Status Configure(const PgTarget& target);
  absl::Status CheckServer(Durability durability);
  // Sends what is buffered and waits for the result; the last one's if there are several.
  absl::StatusOr<PgRows> Finish(absl::Time deadline);
  // False at the deadline or when the connection broke.
  bool Await(absl::Time deadline);
  absl::Status Judge(const PGresult* result);
  absl::Status Broken(absl::string_view what);

  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
  bool broken_ = false;
  std::map<std::string, std::string> prepared_;  // names by statement
};

// A few connections to one database, for all who need one for a moment. Thread-safe.
class PgPool {
 public:
  explicit PgPool(PgTarget target) : target_(std::move(target)) {}
  // Runs `work` on a connection that nobody else has meanwhile; waits for one if all are taken, so
  // `work` must not wait for others who do. What it answers.
  absl::Status Run(const std::function<absl::Status(Pg&)>& work);

 private:
  static constexpr int kMost = 4;

  const PgTarget target_;
  Mutex mutex_;
  CondVar returned_;
  int taken_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Pg>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_H_
