// What only a store that replicas share must do.
#include "server/store/postgres_store.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "server/store/postgres_schema.h"
#include "tests/server/store/postgres_fixture.h"

namespace lazynorm {
namespace {

TEST_F(PostgresStoreTest, ReplicasSeeEachOtherAndWhoHoldsWhat) {
  const auto a = MustOpen({.advertise = "a:1"});
  auto b = MustOpen({.advertise = "b:1"});
  const int64_t id_a = a->cluster()->self(), id_b = b->cluster()->self();
  EXPECT_NE(id_a, id_b);
  auto replicas = a->cluster()->Replicas();
  ASSERT_TRUE(replicas.ok()) << replicas.status();
  ASSERT_EQ(replicas->size(), 2u);
  EXPECT_EQ((*replicas)[1].id, id_b);
  EXPECT_EQ((*replicas)[1].address, "b:1");
  const auto journal = Create(*b, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 4)).ok());
  Holding holding = HoldingOf(*a, "m");
  EXPECT_EQ(holding.holder, id_b);
  EXPECT_TRUE(holding.alive);
  EXPECT_TRUE(holding.end == journal->end());
  History history;
  EXPECT_EQ(ReasonIn(a->Open("m", ReaderInto(history)).status()), "NOT_HOLDER");
  b.reset();
  EXPECT_FALSE(HoldingOf(*a, "m").alive) << "at once, not when its lease has run out";
  EXPECT_EQ(a->cluster()->Replicas()->size(), 1u);
  ASSERT_TRUE(a->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.steps(), "0 1 2 3 4");
  EXPECT_EQ(HoldingOf(*a, "m").holder, id_a);
  EXPECT_EQ(HoldingOf(*a, "m").epoch, holding.epoch + 1);
}

TEST_F(PostgresStoreTest, ReplicasOfOneDatabaseShareASecretOfItsOwn) {
  std::string secret;
  {
    const auto a = MustOpen(), b = MustOpen();
    secret = a->cluster()->secret();
    EXPECT_EQ(secret.size(), 64u);
    EXPECT_EQ(b->cluster()->secret(), secret);
  }
  EXPECT_EQ(MustOpen()->cluster()->secret(), secret) << "it stays";
  const auto other = OpenStore(NewDatabase(), {});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE((*other)->cluster()->secret(), secret);
  Sql("delete from secret");
  const absl::Status refused = Open().status();
  EXPECT_TRUE(absl::StrContains(refused.message(), "table secret")) << refused;
}

TEST_F(PostgresStoreTest, ADatabaseOfTheFirstFormatIsTakenOver) {
  {
    auto pg = Pg::Connect({.uri = uri_});
    ASSERT_TRUE(pg.ok()) << pg.status();
    ASSERT_TRUE(Migrate(**pg, {PgMigrations()[0]}).ok());
  }
  Sql("insert into replica(address) values('a:1')");
  const auto a = MustOpen();
  EXPECT_EQ(a->cluster()->secret().size(), 64u);
  EXPECT_EQ(Number("select max(version) from format"), static_cast<int64_t>(PgMigrations().size()));
  EXPECT_TRUE(AppendAndWait(*Create(*a, "m"), Records(1, 1)).ok());
}

TEST_F(PostgresStoreTest, AReleasedModelIsAnybodysAndItsOldJournalMayNotWrite) {
  const auto a = MustOpen(), b = MustOpen();
  const auto old = Create(*a, "m");
  EXPECT_EQ(ReasonIn(b->cluster()->Release("m", 0)), "NOT_HOLDER");
  EXPECT_EQ(ReasonIn(b->cluster()->Release("n", 0)), "MODEL_NOT_FOUND");
  ASSERT_TRUE(a->cluster()->Release("m", b->cluster()->self()).ok());
  EXPECT_EQ(HoldingOf(*b, "m").holder, 0);
  EXPECT_EQ(HoldingOf(*b, "m").heir, b->cluster()->self());
  EXPECT_EQ(ReasonIn(AppendAndWait(*old, Records(1, 1))), "NOT_HOLDER");
  History history;
  const auto journal = b->Open("m", ReaderInto(history));
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ(HoldingOf(*b, "m").heir, 0);
  EXPECT_TRUE(AppendAndWait(**journal, Records(1, 1)).ok());
}

TEST_F(PostgresStoreTest, AFollowerReadsOnWhereItWas) {
  const auto a = MustOpen(), b = MustOpen();
  const auto journal = Create(*a, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
  History history;
  absl::StatusOr<Position> at = b->ReadFrom("m", {}, ReaderInto(history));
  ASSERT_TRUE(at.ok()) << at.status();
  EXPECT_EQ(history.steps(), "0 1 2 3");
  EXPECT_TRUE(*at == journal->end());
  at = b->ReadFrom("m", *at, ReaderInto(history));
  EXPECT_EQ(history.steps(), "0 1 2 3") << "nothing new";
  EXPECT_TRUE(AppendAndWait(*journal, Records(4, 5)).ok());
  at = b->ReadFrom("m", *at, ReaderInto(history));
  EXPECT_EQ(history.steps(), "0 1 2 3 4 5");
  EXPECT_TRUE(*at == journal->end());
  EXPECT_TRUE(history.as_written());
}

TEST_F(PostgresStoreTest, AFollowerThatWasLeftBehindBeginsWithTheNewestSnapshot) {
  const auto a = MustOpen(), b = MustOpen();
  auto journal = Create(*a, "m");
  const Position early = journal->end();
  for (int i = 1; i <= 9; ++i) {
    EXPECT_TRUE(AppendAndWait(*journal, Records(i, i)).ok());
    if (i % 3 != 0) continue;
    EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("state at ", i)).ok());
  }
  EXPECT_TRUE(AppendAndWait(*journal, Records(10, 10)).ok());
  ASSERT_TRUE(Soon([&] { return Number("select min(seq) from journal") == 8; }))
      << "the journal is trimmed up to the older snapshot, at seq 7";
  History history;
  const auto at = b->ReadFrom("m", early, ReaderInto(history));
  ASSERT_TRUE(at.ok()) << at.status();
  EXPECT_EQ(history.snapshot, "state at 9");
  EXPECT_EQ(history.steps(), "10");
  // A model that was made anew is another one.
  EXPECT_TRUE(a->Delete("m").ok());
  journal = Create(*a, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(5, 25)).ok());
  history = {};
  EXPECT_TRUE(b->ReadFrom("m", *at, ReaderInto(history)).ok());
  EXPECT_EQ(history.records.size(), 22u);
  EXPECT_EQ(history.snapshot, "");
}

// Whoever reads meanwhile would take a hole for a record that was lost.
TEST_F(PostgresStoreTest, TheJournalIsTrimmedFromItsBeginningOn) {
  Sql("alter database " + Sql("select current_database()") + " set enable_indexscan = off");
  const auto a = MustOpen();
  const auto journal = Create(*a, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 1200, 10)).ok());
  // Its rows come to lie in another order, as in the long run; and a look after each deletion.
  Sql("create table other as select * from journal order by seq desc; truncate journal; "
      "insert into journal select * from other; create table hole(rows bigint); "
      "create function look() returns trigger language plpgsql as 'begin insert into lazynorm.hole "
      "select (select last_seq from lazynorm.model) - min(seq) + 1 - count(*) from "
      "lazynorm.journal; return null; end'; "
      "create trigger look after delete on journal execute function look()");
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(SnapshotAndWait(*journal, "state").ok());
  ASSERT_TRUE(Soon([this] { return Number("select count(*) from journal") == 0; }));
  EXPECT_EQ(Number("select max(rows) from hole"), 0);
}

TEST_F(PostgresStoreTest, WhoeverFollowedReadsOnlyTheRestWhenItOpens) {
  auto a = MustOpen();
  const auto b = MustOpen();
  Position at;
  {
    const auto journal = Create(*a, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
    at = journal->end();
    EXPECT_TRUE(AppendAndWait(*journal, Records(4, 5)).ok());
  }
  a.reset();
  History history;
  Reader reader = ReaderInto(history);
  reader.from = at;
  const auto journal = b->Open("m", reader);
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ(history.steps(), "4 5");
  EXPECT_TRUE(AppendAndWait(**journal, Records(6, 6)).ok());
}

// Its former holder may still be trimming what it has written.
TEST_F(PostgresStoreTest, WhatIsTrimmedWhileItIsOpenedIsNotDamaged) {
  auto a = MustOpen();
  const auto b = MustOpen();
  History history;
  Reader reader = ReaderInto(history);
  {
    const auto journal = Create(*a, "m");
    reader.from = journal->end();
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 900, 10)).ok());
    EXPECT_TRUE(SnapshotAndWait(*journal, "state at 900").ok());
    EXPECT_TRUE(AppendAndWait(*journal, Records(901, 902, 10)).ok());
  }
  a.reset();
  reader.on_record = [&, read = reader.on_record](const Position& at, const Record& record) {
    if (at.step == 1) Sql("delete from journal where seq <= 700");
    return read(at, record);
  };
  EXPECT_TRUE(absl::IsAborted(b->Open("m", reader).status()));
  EXPECT_LT(history.records.size(), 700u) << "they were read in one page: nothing was tried";
  history = {};
  const auto journal = b->Open("m", reader);
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ(history.snapshot, "state at 900");
  EXPECT_EQ(history.steps(), "901 902");
}

TEST_F(PostgresStoreTest, ChangesOfHoldersAndSnapshotsWakeTheOthers) {
  const auto a = MustOpen(), b = MustOpen();
  const auto journal = Create(*a, "m");
  // What is told up to the end of a statement comes with its answer.
  auto listener = Pg::Connect({.uri = uri_});
  ASSERT_TRUE(listener.ok() && (*listener)->Execute("listen lazynorm").ok());
  const auto told = [&listener] {
    EXPECT_TRUE((*listener)->Execute("select 1").ok());
    return (*listener)->WaitForNotification(absl::ZeroDuration());
  };
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 1)).ok());
  EXPECT_FALSE(told()) << "an append tells nobody";
  const auto wakes = [&b](absl::Duration timeout) {
    const absl::Time begin = absl::Now();
    b->cluster()->WaitForChange(timeout);
    return absl::Now() - begin < timeout;
  };
  for (const auto& change : std::vector<std::function<void()>>{
           [&] { EXPECT_TRUE(SnapshotAndWait(*journal, "state").ok()); },
           [&] { EXPECT_TRUE(a->cluster()->Release("m", 0).ok()); },
           [&] { EXPECT_TRUE(a->Delete("m").ok()); }}) {
    while (wakes(absl::Milliseconds(200))) {  // by what was before
    }
    change();
    EXPECT_TRUE(wakes(absl::Minutes(1)));
    EXPECT_TRUE(told());
  }
}

TEST_F(PostgresStoreTest, ALeaseThatIsLostMakesAnotherReplicaThatOpensItsModelsAgain) {
  const auto a = MustOpen();
  const auto journal = Create(*a, "m");
  const int64_t first = a->cluster()->self();
  Sql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted");
  ASSERT_TRUE(Soon([&] {
    const int64_t now = a->cluster()->self();
    return now != 0 && now != first;
  }));
  EXPECT_EQ(ReasonIn(AppendAndWait(*journal, Records(1, 1))), "NOT_HOLDER");
  History history;
  const auto again = a->Open("m", ReaderInto(history));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(history.steps(), "0");
  EXPECT_TRUE(AppendAndWait(**again, Records(1, 1)).ok());
}

TEST_F(PostgresStoreTest, AServerThatDoesNotAnswerEndsTheLeaseInItsTime) {
  const auto a = MustOpen({.lease_timeout = absl::Seconds(4)});
  const int64_t first = a->cluster()->self();
  const auto pid = static_cast<pid_t>(
      Number("select pid from pg_locks where locktype = 'advisory' and granted"));
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  const absl::Cleanup goes_on = [pid] { kill(pid, SIGCONT); };
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(Soon([&] { return a->cluster()->self() != first; }));
  // Before any other patience with a connection ends.
  EXPECT_LT(absl::Now() - begin, Pg::kPatience - absl::Seconds(5));
  EXPECT_TRUE(Soon([&] { return a->cluster()->self() > first; }));
}

TEST_F(PostgresStoreTest, AServerThatCrashesAndComesBackLosesNothingAndEndsNobody) {
  // With one database: after a crash each of the files is synced, of all databases that there are.
  PostgresServer server;
  const auto opened = OpenStore(server.NewDatabase() + kPatient, {.lease_timeout = kLongLease});
  ASSERT_TRUE(opened.ok()) << opened.status();
  Store* const a = opened->get();
  auto journal = Create(*a, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 20)).ok());
  server.Stop(SIGQUIT);
  const absl::Time begin = absl::Now();
  EXPECT_EQ(ReasonIn(AppendAndWait(*journal, Records(21, 21))), "STORE_FAILED");
  EXPECT_FALSE(AppendAndWait(*journal, Records(22, 22)).ok()) << "a gap";
  History history;
  EXPECT_EQ(ReasonIn(a->Open("m", ReaderInto(history)).status()), "STORE_FAILED");
  EXPECT_EQ(ReasonIn(a->cluster()->Holdings().status()), "STORE_FAILED");
  EXPECT_LT(absl::Now() - begin, Pg::kPatience / 2) << "nobody waits for what is not there";
  EXPECT_TRUE(Soon([&] { return a->cluster()->self() == 0; }));
  server.Start();
  ASSERT_TRUE(Soon([&] {
    history = {};
    auto again = a->Open("m", ReaderInto(history));
    if (again.ok()) journal = *std::move(again);
    return again.ok();
  }));
  EXPECT_GE(history.records.size(), 21u);
  EXPECT_LE(history.records.size(), 22u) << "the outcome of one was unknown";
  EXPECT_TRUE(history.as_written());
  const absl::Status kept = AppendAndWait(*journal, Records(30, 31));
  EXPECT_TRUE(kept.ok()) << kept;
}

TEST_F(PostgresStoreTest, WhoeverFindsTheDiskFullGoesOnOnceItIsNot) {
  const auto a = MustOpen();
  auto journal = Create(*a, "m");
  Sql("create function full_disk() returns trigger language plpgsql as "
      "'begin raise exception using errcode = ''53100'', message = ''no space''; end'; "
      "create trigger full_disk before insert on journal execute function full_disk()");
  EXPECT_EQ(ReasonIn(AppendAndWait(*journal, Records(1, 1))), "STORE_FULL");
  Sql("drop trigger full_disk on journal");
  EXPECT_EQ(ReasonIn(AppendAndWait(*journal, Records(2, 2))), "STORE_FULL") << "no gap";
  History history;
  auto again = a->Open("m", ReaderInto(history));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(AppendAndWait(**again, Records(1, 1)).ok());
}

TEST_F(PostgresStoreTest, WhatIsNotAsItWasWrittenIsFoundAndNamed) {
  struct Case {
    std::string sql, expected;
  };
  const auto a = MustOpen();
  for (const auto& [sql, expected] : std::vector<Case>{
           {"update journal set payload = set_byte(payload, 7, 1) where seq = 3 and model_id = ",
            "table journal, seq 3: the checksum is wrong"},
           {"update journal set step = 9 where seq = 2 and model_id = ", "seq 2: the checksum"},
           {"delete from journal where seq = 3 and model_id = ", "seq 3: the row cannot be found"},
           {"delete from journal where seq = 6 and model_id = ", "had been acknowledged"},
           {"delete from journal where seq = 1 and model_id = ", "seq 1: the row cannot be found"},
           {"update model set name = 'x' where model_id = ", "table model, row"}}) {
    SCOPED_TRACE(sql);
    EXPECT_TRUE(AppendAndWait(*Create(*a, "m"), Records(1, 5)).ok());
    Sql(sql + Sql("select model_id from model where not deleted"));
    const std::string name = (*a->Models())[0].model;
    History history;
    for (const absl::Status& damage : {a->Open(name, ReaderInto(history)).status(),
                                       a->ReadFrom(name, {}, ReaderInto(history)).status()}) {
      if (damage.ok()) continue;  // a follower does not know where the end is
      EXPECT_EQ(ReasonIn(damage), "MODEL_DAMAGED") << damage;
      EXPECT_TRUE(absl::StrContains(damage.message(), expected)) << damage;
    }
    EXPECT_FALSE(a->Open(name, ReaderInto(history)).ok());
    EXPECT_TRUE(a->Delete(name).ok());
  }
}

TEST_F(PostgresStoreTest, ADamagedSnapshotIsToldOfAndTheOlderOneUsed) {
  const auto a = MustOpen();
  for (const std::string sql :
       {"update snapshot_chunk set data = set_byte(data, 0, 1) where ",
        "update snapshot set step = step + 1 where ", "delete from snapshot_chunk where "}) {
    SCOPED_TRACE(sql);
    {
      const auto journal = Create(*a, "m");
      for (const int i : {1, 2}) {
        EXPECT_TRUE(AppendAndWait(*journal, Records(i, i)).ok());
        EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("state at ", i)).ok());
      }
    }
    Sql(sql + "snapshot_id = (select max(snapshot_id) from snapshot)");
    History history;
    const auto opened = a->Open("m", ReaderInto(history));
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(history.snapshot, "state at 1");
    EXPECT_EQ(history.steps(), "2");
    EXPECT_EQ(history.warnings.size(), 1u);
    EXPECT_TRUE(a->Delete("m").ok());
  }
}

TEST_F(PostgresStoreTest, WhatIsDeletedLeavesNothingBehind) {
  {
    const auto a = MustOpen();
    const auto journal = Create(*a, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 1200, 10)).ok());
    EXPECT_TRUE(SnapshotAndWait(*journal, RecordOf(1, 3'000'000).payload).ok());
    EXPECT_TRUE(CheckpointAndWait(*journal, "label", "state").ok());
    EXPECT_TRUE(a->Delete("m").ok());  // and closed before it is done
  }
  const auto a = MustOpen();
  EXPECT_TRUE(Soon([&] {
    return Number(
               "select (select count(*) from model) + (select count(*) from journal) + (select "
               "count(*) from snapshot) + (select count(*) from snapshot_chunk)") == 0;
  }));
}

TEST_F(PostgresStoreTest, ASnapshotThatWasNotFinishedGoesWithTheNextWriter) {
  auto a = MustOpen();
  Create(*a, "m");
  Sql("insert into snapshot_chunk select model_id, 77, 0, 'x' from model");
  a.reset();
  a = MustOpen();
  History history;
  ASSERT_TRUE(a->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(Number("select count(*) from snapshot_chunk"), 0);
}

TEST_F(PostgresStoreTest, ADatabaseThatWouldNotKeepItsPromiseIsRefused) {
  Sql("alter database " + Sql("select current_database()") + " set synchronous_commit = off");
  const absl::Status refused = Open().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "synchronous_commit is off")) << refused;
  EXPECT_TRUE(Open({.durability = Durability::kAsync}).ok());
  const std::pair<const char*, const char*> cases[] = {
      {"fsync", "fsync=off"}, {"full_page_writes", "full_page_writes=off"}};
  for (const auto& [name, setting] : cases) {
    PostgresServer server({setting});
    const std::string uri = server.NewDatabase() + kPatient;
    const auto store = OpenStore(uri, {});
    EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition) << store.status();
    EXPECT_TRUE(absl::StrContains(store.status().message(), absl::StrCat(name, " is off")));
    EXPECT_TRUE(OpenStore(uri, {.durability = Durability::kNone}).ok());
  }
}

TEST_F(PostgresStoreTest, ANewerOneIsRefusedAndAMigrationIsWholeOrNot) {
  MustOpen();
  Sql("insert into format(version) values(999)");
  const absl::Status newer = Open().status();
  EXPECT_EQ(newer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(newer.message(), "newer")) << newer;
  Sql("delete from format where version = 999");
  auto pg = Pg::Connect({.uri = uri_});
  ASSERT_TRUE(pg.ok()) << pg.status();
  std::vector<std::string> steps = PgMigrations();
  steps.push_back("create table extra(a bigint); create table extra(a bigint);");
  EXPECT_FALSE(Migrate(**pg, steps).ok());
  steps.back() = "create table extra(a bigint);";
  EXPECT_TRUE(Migrate(**pg, steps).ok());
  EXPECT_TRUE(Migrate(**pg, steps).ok()) << "again";
  EXPECT_FALSE(Migrate(**pg, PgMigrations()).ok()) << "by an older version";
}

TEST_F(PostgresStoreTest, ManyMayBeTheFirstAtOnce) {
  std::vector<std::thread> starts;
  std::atomic<int> started = 0;
  for (int i = 0; i < 6; ++i) {
    starts.emplace_back([&] {
      const auto store = Open();
      EXPECT_TRUE(store.ok()) << store.status();
      if (store.ok()) ++started;
    });
  }
  for (std::thread& start : starts) start.join();
  EXPECT_EQ(started, 6);
}

TEST_F(PostgresStoreTest, WhoeverComesWhileAnotherOneMigratesWaitsForIt) {
  std::thread first([this] {
    auto pg = Pg::Connect({.uri = uri_});
    ASSERT_TRUE(pg.ok()) << pg.status();
    // Longer than anybody waits for a lock of another kind.
    EXPECT_TRUE(Migrate(**pg, {PgMigrations()[0] + "select pg_sleep(4);"}).ok());
  });
  EXPECT_TRUE(Soon([this] {
    return Number("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == 1;
  }));
  const absl::Status opened = Open().status();
  EXPECT_TRUE(opened.ok()) << opened;
  first.join();
}

TEST_F(PostgresStoreTest, NobodyIsToldThePassword) {
  for (const std::string uri :
       {"postgresql://u:secret@127.0.0.1:1/db", "postgresql://u:secret%zz@127.0.0.1/db",
        "postgresql://u:secret@127.0.0.1:port/db", "postgresql://u:secret@/db?nonsense=secret",
        "postgres+x://u:secret@127.0.0.1/db"}) {
    const absl::Status refused = OpenStore(uri, {}).status();
    EXPECT_FALSE(refused.ok());
    EXPECT_FALSE(absl::StrContains(refused.message(), "secret")) << refused;
  }
}

TEST_F(PostgresStoreTest, ABackupIsPostgresqlsOwnAffair) {
  const absl::Status refused = MustOpen()->Backup("/tmp/x");
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(absl::StrContains(refused.message(), "pg_dump")) << refused;
}

TEST_F(PostgresStoreTest, AGroupLargerThanAStatementIsStillOne) {
  const auto a = MustOpen();
  const auto journal = Create(*a, "m");
  const absl::Status kept = AppendAndWait(*journal, Records(1, 3, 30 << 20));
  EXPECT_TRUE(kept.ok()) << kept;
  EXPECT_EQ(Number("select count(*) from journal"), 4);
  EXPECT_EQ(Number("select count(distinct xmin::text) from journal where seq > 1"), 1);
}

}  // namespace
}  // namespace lazynorm
