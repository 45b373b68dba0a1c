#include "server/store/postgres.h"

#include <endian.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// From PostgreSQL's pg_type.dat; they never change.
constexpr Oid kBool = 16, kByteaType = 17, kInt8 = 20, kText = 25, kByteaArray = 1001,
              kInt8Array = 1016;
constexpr int kBinary = 1;
constexpr double kBytesPerSecond = 10 << 20;  // the least that is expected of a network
constexpr absl::Duration kIdleInTransaction = absl::Seconds(5);

absl::Duration TimeFor(int64_t bytes) {
  return absl::Seconds(static_cast<double>(bytes) / kBytesPerSecond);
}

template <class T>
void Put(T value, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void Put32(int64_t value, std::string* bytes) {
  Put(htobe32(static_cast<uint32_t>(value)), bytes);
}

void Put64(int64_t value, std::string* bytes) {
  Put(htobe64(static_cast<uint64_t>(value)), bytes);
}

// An array's beginning: one dimension, no NULLs, counted from 1.
std::string ArrayOf(Oid element, size_t count) {
  std::string bytes;
  for (const int64_t word : {int64_t{1}, int64_t{0}, int64_t{element}}) Put32(word, &bytes);
  Put32(static_cast<int64_t>(count), &bytes);
  Put32(1, &bytes);
  return bytes;
}

std::string OneLine(absl::string_view message) {
  std::string line(absl::StripAsciiWhitespace(message));
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

int64_t Milliseconds(absl::Duration time) {
  return absl::ToInt64Milliseconds(time);
}

}  // namespace

PgParam::PgParam(int64_t value) : type_(kInt8), owns_(true) {
  Put64(value, &owned_);
}

PgParam::PgParam(absl::string_view text) : type_(kText), view_(text) {}

PgParam PgParam::Bool(bool value) {
  return {kBool, std::string(1, value ? '\1' : '\0')};
}

PgParam PgParam::Bytea(absl::string_view bytes) {
  return {kByteaType, bytes};
}

PgParam PgParam::Ints(const std::vector<int64_t>& values) {
  std::string bytes = ArrayOf(kInt8, values.size());
  for (const int64_t value : values) {
    Put32(sizeof(value), &bytes);
    Put64(value, &bytes);
  }
  return {kInt8Array, std::move(bytes)};
}

PgParam PgParam::Byteas(const std::vector<absl::string_view>& values) {
  std::string bytes = ArrayOf(kByteaType, values.size());
  size_t size = bytes.size();
  for (const absl::string_view value : values) size += 4 + value.size();
  bytes.reserve(size);
  for (const absl::string_view value : values) {
    Put32(static_cast<int64_t>(value.size()), &bytes);
    bytes.append(value.data(), value.size());
  }
  return {kByteaArray, std::move(bytes)};
}

int64_t PgRows::touched() const {
  return strtoll(PQcmdTuples(result_.get()), nullptr, 10);
}

int64_t PgRows::Int(int row, int column) const {
  const char* const value = PQgetvalue(result_.get(), row, column);
  uint64_t wide = 0;
  uint32_t narrow = 0;
  switch (PQgetlength(result_.get(), row, column)) {
    case 8:
      memcpy(&wide, value, sizeof(wide));
      return static_cast<int64_t>(be64toh(wide));
    case 4:
      memcpy(&narrow, value, sizeof(narrow));
      return static_cast<int32_t>(be32toh(narrow));
    case 1:
      return *value;
    default:
      return 0;
  }
}

absl::string_view PgRows::Bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

// What libpq says of a URI may quote the password.
absl::Status Pg::CheckUri(const std::string& uri) {
  char* error = nullptr;
  PQconninfoOption* const parsed = PQconninfoParse(uri.c_str(), &error);
  PQfreemem(error);
  if (parsed == nullptr) {
    return absl::InvalidArgumentError(
        "store: expected a URI such as postgresql://USER@HOST:5432/DATABASE, as libpq reads it; it "
        "cannot read this one");
  }
  PQconninfoFree(parsed);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Pg>> Pg::Connect(const PgTarget& target) {
  // What comes before dbname is a default that the URI may overrule.
  const char* const names[] = {"connect_timeout", "target_session_attrs",      "tcp_user_timeout",
                               "keepalives_idle", "keepalives_interval",       "keepalives_count",
                               "dbname",          "fallback_application_name", nullptr};
  const char* const values[] = {"3", "read-write",       "10000",     "5",    "2",
                                "3", target.uri.c_str(), "lazynormd", nullptr};
  auto pg = absl::WrapUnique(new Pg(PQconnectdbParams(names, values, 1)));
  if (PQstatus(pg->connection_.get()) != CONNECTION_OK) return pg->Broken("connecting");
  PQsetnonblocking(pg->connection_.get(), 1);
  PQsetNoticeProcessor(
      pg->connection_.get(), [](void*, const char*) {}, nullptr);
  absl::Status status = pg->Configure(target);
  if (status.ok()) status = pg->CheckServer(target.durability);
  if (!status.ok()) return status;
  return pg;
}

std::string Pg::name() const {
  PGconn* const c = connection_.get();
  const auto text = [](const char* value) { return value == nullptr ? "" : value; };
  return absl::StrCat("PostgreSQL ", text(PQdb(c)), " at ", text(PQhost(c)), ":", text(PQport(c)));
}

absl::Status Pg::Configure(const PgTarget& target) {
  std::string sql = absl::StrCat(
      "set search_path = lazynorm, pg_catalog; set statement_timeout = '25s'; "
      "set lock_timeout = '",
      kLockTimeout, "'; set default_transaction_isolation = 'read committed';");
  if (target.silence > absl::ZeroDuration()) {
    absl::StrAppend(&sql, "set idle_session_timeout = ", Milliseconds(target.silence), ";");
  }
  if (target.durability != Durability::kFsync) sql += "set synchronous_commit = off;";
  return Execute(sql);
}

absl::Status Pg::CheckServer(Durability durability) {
  const absl::StatusOr<PgRows> settings =
      Run("select current_setting('fsync'), current_setting('full_page_writes'), "
          "current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), "
          "pg_is_in_recovery()");
  if (!settings.ok()) return settings.status();
  const auto refuse = [this](absl::string_view what) {
    return StoreRefused(absl::StrCat(name(), ": ", what));
  };
  if (settings->Int(0, 4) != 0) return refuse("a standby: expected the primary");
  if (durability == Durability::kNone) return absl::OkStatus();
  if (settings->Bytes(0, 0) != "on") return refuse("fsync is off: expected on");
  if (settings->Bytes(0, 1) != "on") return refuse("full_page_writes is off: expected on");
  if (durability != Durability::kFsync) return absl::OkStatus();
  const absl::string_view commit = settings->Bytes(0, 2);
  if (commit == "off") return refuse("synchronous_commit is off: expected on");
  if (commit == "local" && !settings->Bytes(0, 3).empty()) {
    return refuse("synchronous_commit is local beside synchronous standbys: expected on");
  }
  return absl::OkStatus();
}

absl::Status Pg::Broken(absl::string_view what) {
  broken_ = true;
  return StoreFailed(
      absl::StrCat(name(), ": ", what, ": ", OneLine(PQerrorMessage(connection_.get()))));
}

bool Pg::usable() {
  if (broken_ || PQstatus(connection_.get()) != CONNECTION_OK) return false;
  // What a server says before it hangs up comes first.
  pollfd socket = {PQsocket(connection_.get()), POLLIN, 0};
  while (poll(&socket, 1, 0) > 0) {
    if (PQconsumeInput(connection_.get()) == 0) return false;
  }
  return PQstatus(connection_.get()) == CONNECTION_OK;
}

bool Pg::Await(absl::Time deadline) {
  while (true) {
    const int unsent = PQflush(connection_.get());
    if (unsent < 0) return false;
    if (unsent == 0 && PQisBusy(connection_.get()) == 0) return true;
    const int64_t left = Milliseconds(deadline - absl::Now());
    if (left <= 0) return false;
    const auto events = static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
    pollfd socket = {PQsocket(connection_.get()), events, 0};
    poll(&socket, 1, static_cast<int>(std::min<int64_t>(left, 1000)));
    if ((socket.revents & ~POLLOUT) != 0 && PQconsumeInput(connection_.get()) == 0) return false;
  }
}

absl::Status Pg::Judge(const PGresult* result) {
  const ExecStatusType kind = PQresultStatus(result);
  if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK) return absl::OkStatus();
  const char* const code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const absl::string_view state = code == nullptr ? "" : code;
  const std::string message = absl::StrCat(name(), ": ", OneLine(PQresultErrorMessage(result)),
                                           state.empty() ? "" : absl::StrCat(" (", state, ")"));
  if (state == "53100") return StoreFull(message);
  if (state == "XX001" || state == "XX002") return ModelDamaged(message);
  // The server is going, has become a standby, or has ended this session: look for it anew.
  if (state.empty() || state.substr(0, 3) == "57P" || state == "25006") broken_ = true;
  return StoreFailed(message);
}

absl::StatusOr<PgRows> Pg::Finish(absl::Time deadline) {
  absl::StatusOr<PgRows> answer = StoreFailed(absl::StrCat(name(), ": no answer"));
  absl::Status failed;
  while (true) {
    if (!Await(deadline)) {
      const bool late = absl::Now() >= deadline;
      return late ? (broken_ = true, StoreFailed(absl::StrCat(name(), ": no answer in time")))
                  : Broken("the connection is lost");
    }
    PGresult* const result = PQgetResult(connection_.get());
    if (result == nullptr) break;
    PgRows rows(result);
    if (failed.ok()) failed = Judge(result);
    answer = std::move(rows);
  }
  if (!failed.ok()) return failed;
  return answer;
}

absl::StatusOr<PgRows> Pg::Run(const std::string& sql, const std::vector<PgParam>& params,
                               absl::Duration patience) {
  const auto count = static_cast<int>(params.size());
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths, formats(params.size(), kBinary);
  int64_t bytes = 0;
  for (const PgParam& param : params) {
    types.push_back(param.type());
    // A null pointer would be NULL.
    values.push_back(param.bytes().data() == nullptr ? "" : param.bytes().data());
    lengths.push_back(static_cast<int>(param.bytes().size()));
    bytes += static_cast<int64_t>(param.bytes().size());
  }
  const absl::Time deadline = absl::Now() + patience + TimeFor(bytes);
  std::string& prepared = prepared_[sql];
  if (prepared.empty()) {
    const std::string statement = absl::StrCat("s", prepared_.size());
    if (PQsendPrepare(connection_.get(), statement.c_str(), sql.c_str(), count, types.data()) == 0)
      return Broken("preparing");
    const absl::StatusOr<PgRows> done = Finish(deadline);
    if (!done.ok()) return done.status();
    prepared = statement;
  }
  if (PQsendQueryPrepared(connection_.get(), prepared.c_str(), count, values.data(), lengths.data(),
                          formats.data(), kBinary) == 0) {
    return Broken("sending");
  }
  return Finish(deadline);
}

absl::Status Pg::Execute(const std::string& sql) {
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) return Broken("sending");
  return Finish(absl::Now() + kPatience).status();
}

absl::Status Pg::Transaction(const std::function<absl::Status()>& work, int64_t bytes) {
  // To the server a session is idle until the whole of a statement has arrived.
  const absl::Duration idle = bytes > 0 ? kPatience + TimeFor(bytes) : kIdleInTransaction;
  absl::Status status = Execute(
      absl::StrCat("begin; set local idle_in_transaction_session_timeout = ", Milliseconds(idle)));
  if (!status.ok()) return status;
  status = work();
  if (status.ok()) return Execute("commit");
  if (usable() && !Execute("rollback").ok()) broken_ = true;
  return status;
}

bool Pg::WaitForNotification(absl::Duration time) {
  const auto take = [this] {
    bool any = false;
    while (PGnotify* const notification = PQnotifies(connection_.get())) {
      PQfreemem(notification);
      any = true;
    }
    return any;
  };
  if (take()) return true;
  pollfd socket = {PQsocket(connection_.get()), POLLIN, 0};
  poll(&socket, 1, static_cast<int>(Milliseconds(time)));
  if (PQconsumeInput(connection_.get()) == 0) broken_ = true;
  return take();
}

absl::Status PgPool::Run(const std::function<absl::Status(Pg&)>& work) {
  std::unique_ptr<Pg> pg;
  {
    MutexLock lock(&mutex_);
    while (taken_ == kMost) returned_.Wait(&mutex_);
    ++taken_;
    while (pg == nullptr && !idle_.empty()) {
      if (idle_.back()->usable()) pg = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  absl::Status status;
  if (pg == nullptr) {
    absl::StatusOr<std::unique_ptr<Pg>> connected = Pg::Connect(target_);
    if (connected.ok()) pg = *std::move(connected);
    status = connected.status();
  }
  if (status.ok()) status = work(*pg);
  MutexLock lock(&mutex_);
  --taken_;
  if (pg != nullptr && pg->usable()) idle_.push_back(std::move(pg));
  returned_.NotifyOne();
  return status;
}

}  // namespace lazynorm
