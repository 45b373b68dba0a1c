// What a takeover finds in its way.
#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/server/store/postgres_fixture.h"

namespace lazynorm {
namespace {

// A writer that is stopped while its transaction has the row of a model: what it holds is held
// until somebody ends its session.
class StoppedWriterTest : public PostgresStoreTest {
 protected:
  // As `user`, beside any store. PostgreSQL would end it by itself much later than the tests last.
  void StopInTheMiddle(const std::string& statement, const std::string& user = "postgres") {
    writer_.reset(PQconnectdb((uri_ + "&user=" + user).c_str()));
    Tell("set search_path = lazynorm; set idle_in_transaction_session_timeout = 0; begin");
    Tell(statement);
    ASSERT_TRUE(Soon([this] { return Sessions(" and wait_event_type = 'Client'") == 1; }));
  }
  void Tell(const std::string& sql) {
    const std::unique_ptr<PGresult, void (*)(PGresult*)> r(PQexec(writer_.get(), sql.c_str()),
                                                           PQclear);
    const ExecStatusType status = PQresultStatus(r.get());
    ASSERT_TRUE(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        << sql << ": " << PQerrorMessage(writer_.get());
  }
  bool SessionLives() { return Sessions("") == 1; }
  // For longer than half a lease, as those see it who look into the schema first.
  void BeSilent() {
    Sql("create or replace view pg_stat_activity as select datname, usename, pid, wait_event_type, "
        "case application_name when 'lazynormd' then state_change else state_change - " +
        absl::StrCat("interval '", absl::ToInt64Seconds(kLongLease) / 2 + 1,
                     " s' end as state_change from pg_catalog.pg_stat_activity"));
  }

  int64_t Sessions(const std::string& like) {
    return Number(absl::StrCat("select count(*) from pg_catalog.pg_stat_activity where pid = ",
                               PQbackendPID(writer_.get()), like));
  }

  static constexpr char kAppend[] = "update model set last_seq = last_seq + 1 where name = 'm'";
  std::unique_ptr<PGconn, void (*)(PGconn*)> writer_{nullptr, PQfinish};
};

TEST_F(StoppedWriterTest, WhoeverTakesItsModelEndsItsSessionAndNothingOfItIsKept) {
  for (const std::string& statement :
       {std::string(kAppend), std::string("select 1 from model where name = 'm' for no key update"),
        // Others share a lock of the row: its xmax names all of them.
        absl::StrCat("select 1 from model for key share; savepoint s; ", kAppend)}) {
    SCOPED_TRACE(statement);
    auto dead = MustOpen();
    Create(*dead, "m");
    dead.reset();
    StopInTheMiddle(statement);
    BeSilent();
    std::vector<std::string> warnings;
    StoreOptions options;
    options.hooks.on_warning = [&](const std::string& text) { warnings.push_back(text); };
    const auto a = MustOpen(std::move(options));
    History history;
    // It fails if it has to wait: nothing else ends that session, and no lock is waited for longer
    // than Pg::kLockTimeout.
    const auto journal = a->Open("m", ReaderInto(history));
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_TRUE(Soon([this] { return !SessionLives(); }));
    EXPECT_EQ(warnings.size(), 1u);
    EXPECT_EQ(history.steps(), "0");
    EXPECT_TRUE(AppendAndWait(**journal, Records(1, 3)).ok());
    EXPECT_TRUE(a->Delete("m").ok());
  }
}

TEST_F(StoppedWriterTest, NobodyElsesSessionIsEnded) {
  auto a = MustOpen();
  const auto b = MustOpen();
  Create(*a, "m");
  History history;
  // The holder lives.
  StopInTheMiddle(kAppend);
  BeSilent();
  EXPECT_EQ(ReasonIn(b->Open("m", ReaderInto(history)).status()), "STORE_FAILED");
  EXPECT_TRUE(SessionLives());
  Tell("rollback");
  a.reset();
  // A reader, or another program's writer.
  Sql("do 'begin create role stranger login; exception when duplicate_object then end'; "
      "grant usage on schema lazynorm to stranger; grant all on model to stranger");
  StopInTheMiddle(kAppend, "stranger");
  BeSilent();
  EXPECT_EQ(ReasonIn(b->Open("m", ReaderInto(history)).status()), "STORE_FAILED");
  EXPECT_TRUE(SessionLives());
  Tell("rollback");
  // Not in the way.
  StopInTheMiddle("select 1 from model");
  BeSilent();
  EXPECT_TRUE(b->Open("m", ReaderInto(history)).ok());
  EXPECT_TRUE(SessionLives());
}

TEST_F(StoppedWriterTest, WhoeverIsOnlySlowIsWaitedFor) {
  auto dead = MustOpen();
  Create(*dead, "m");
  dead.reset();
  const auto a = MustOpen();
  StopInTheMiddle(kAppend);
  std::thread goes_on([this] {
    EXPECT_TRUE(
        Soon([this] { return Number("select count(*) from pg_locks where not granted") > 0; }));
    Tell("rollback");
  });
  History history;
  const auto journal = a->Open("m", ReaderInto(history));
  goes_on.join();
  EXPECT_TRUE(journal.ok()) << journal.status();
  EXPECT_TRUE(SessionLives());
}

}  // namespace
}  // namespace lazynorm
