// What only a store on a disk must do.
#include "server/store/sqlite_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/store/sqlite_schema.h"
#include "tests/server/store/sqlite_fixture.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;
TEST_F(SqliteStoreTest, ADirectoryHasOneOwnerWhoIsNamed) {
  const auto owner = MustOpen();
  const absl::Status second = Open().status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.message().find(absl::StrCat("process ", getpid(), " on ")),
            absl::string_view::npos)
      << second;
}

TEST_F(SqliteStoreTest, ADeadOwnerKeepsNobodyOutAndLosesNothing) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto store = Open();
    auto journal = (*store)->Create("m", RecordOf(0));
    const bool kept = AppendAndWait(**journal, Records(1, 20)).ok();
    (void)!write(ready[1], kept ? "y" : "n", 1);
    pause();
  }
  char word = 0;
  ASSERT_EQ(read(ready[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  const auto store = MustOpen();
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.records.size(), 21u);
  EXPECT_TRUE(history.as_written());
}

TEST_F(SqliteStoreTest, WhatIsNoStoreOrANewerOneIsRefused) {
  fs::create_directories(data_);
  WriteFile(data_ / "lazynorm.db", "this is not a database, not even a small one, nor was it ever");
  EXPECT_FALSE(Open().ok());
  fs::remove_all(data_);
  MustOpen();
  {
    auto db = Database::Open((data_ / "lazynorm.db").string(), Database::Mode::kReadWrite);
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE((*db)->Execute("PRAGMA user_version=999").ok());
  }
  const absl::Status newer = Open().status();
  EXPECT_EQ(newer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(newer.message().find("newer"), absl::string_view::npos) << newer;
}

TEST_F(SqliteStoreTest, AMigrationThatFailsHalfwayLeavesTheOldFormat) {
  MustOpen();
  const std::string path = (data_ / "lazynorm.db").string();
  auto db = Database::Open(path, Database::Mode::kReadWrite);
  ASSERT_TRUE(db.ok());
  std::vector<std::string> steps = Migrations();
  steps.push_back("CREATE TABLE extra(a INTEGER); CREATE TABLE extra(a INTEGER);");
  EXPECT_FALSE(Migrate(**db, steps).ok());
  steps.back() = "CREATE TABLE extra(a INTEGER);";
  EXPECT_TRUE(Migrate(**db, steps).ok());
  EXPECT_TRUE(Migrate(**db, steps).ok()) << "again";
  EXPECT_FALSE(Migrate(**db, Migrations()).ok()) << "by an older version";
}

TEST_F(SqliteStoreTest, AHalfWrittenSnapshotIsNotLookedAt) {
  {
    const auto store = MustOpen();
    const auto journal = Create(*store, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
  }
  {
    auto db = Database::Open((data_ / "lazynorm.db").string(), Database::Mode::kReadWrite);
    ASSERT_TRUE((*db)->Execute("INSERT INTO snapshot_chunk VALUES(77 << 20, x'00ff')").ok());
  }
  const auto store = MustOpen();
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.steps(), "0 1 2 3");
  EXPECT_EQ(history.snapshot, "");
  auto db = Database::Open((data_ / "lazynorm.db").string(), Database::Mode::kReadOnly);
  Query count(**db, "SELECT count(*) FROM snapshot_chunk");
  ASSERT_TRUE(count.Next());
  EXPECT_EQ(count.Int(0), 0);
}

TEST_F(SqliteStoreTest, ADamagedSnapshotIsReplacedByTheOlderOneAndSaidSo) {
  {
    const auto store = MustOpen();
    const auto journal = Create(*store, "m");
    for (int i = 1; i <= 6; ++i) {
      EXPECT_TRUE(AppendAndWait(*journal, Records(i, i)).ok());
      if (i % 2 == 0 && i < 6) {
        EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("state at ", i)).ok());
      }
    }
  }
  const fs::path path = data_ / "lazynorm.db";
  std::string bytes = ReadFile(path);
  const size_t at = bytes.find("state at 4");
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  WriteFile(path, bytes);
  const auto store = MustOpen();
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.snapshot, "state at 2");
  EXPECT_EQ(history.steps(), "3 4 5 6");
  EXPECT_EQ(history.warnings.size(), 1u);
}

// A limit on the size of files is a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

TEST_F(SqliteStoreTest, AFullDiskRefusesWritesAndNothingElse) {
  bool fatal = false;
  StoreOptions options;
  options.hooks.on_fatal = [&](const std::string&) { fatal = true; };
  const auto store = MustOpen(std::move(options));
  auto journal = Create(*store, "m");
  ASSERT_TRUE(AppendAndWait(*journal, Records(1, 5)).ok());
  int step = 6;
  absl::Status status;
  {
    const FullDisk full(400'000);
    while (status.ok() && step < 1000) {
      status = AppendAndWait(*journal, Records(step, step, 20'000));
      if (status.ok()) ++step;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(ReasonIn(status), "STORE_FULL");
    EXPECT_FALSE(AppendAndWait(*journal, Records(step, step)).ok()) << "a gap";
  }
  EXPECT_FALSE(fatal);
  History history;
  auto again = store->Open("m", ReaderInto(history));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(history.records.size(), static_cast<size_t>(step)) << "what was refused is not there";
  EXPECT_TRUE(AppendAndWait(**again, Records(step, step)).ok());
}

TEST_F(SqliteStoreTest, EachDurabilityKeepsWhatAKilledProcessWrote) {
  for (const Durability durability : {Durability::kFsync, Durability::kAsync, Durability::kNone}) {
    fs::remove_all(data_);
    const fs::path killed = folder_.path() / "killed";
    fs::remove_all(killed);
    {
      const auto store = MustOpen({.durability = durability});
      const auto journal = Create(*store, "m");
      EXPECT_TRUE(AppendAndWait(*journal, Records(1, 10)).ok());
      fs::copy(data_, killed, fs::copy_options::recursive);
    }
    const auto store = OpenStore(Uri(killed), {.durability = durability});
    ASSERT_TRUE(store.ok()) << store.status();
    History history;
    EXPECT_TRUE((*store)->Open("m", ReaderInto(history)).ok());
    EXPECT_EQ(history.records.size(), 11u);
  }
}

// Records lie in the journal's file, snapshots in the database.
TEST_F(SqliteStoreTest, SpaceOfWhatIsDeletedIsUsedAgain) {
  constexpr size_t kRecords = 100, kRecord = 20'000, kSnapshot = 3 << 20;
  const auto store = MustOpen();
  const auto size = [this] {
    uintmax_t bytes = 0;
    for (const auto& file : fs::directory_iterator(data_)) bytes += file.file_size();
    return bytes;
  };
  uintmax_t before = 0;
  for (int round = 0; round < 12; ++round) {
    auto journal = Create(*store, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, kRecords, kRecord)).ok());
    EXPECT_TRUE(SnapshotAndWait(*journal, std::string(kSnapshot, 's')).ok());
    EXPECT_TRUE(store->Delete("m").ok());
    journal = Create(*store, "barrier");  // what is behind it has been tidied, at the latest
    EXPECT_TRUE(store->Delete("barrier").ok());
    if (round == 3) before = size();
  }
  EXPECT_GT(before, kSnapshot);
  EXPECT_LE(size(), before + 2 * (kRecords * kRecord + kSnapshot));
}

// However they meet, whoever opens hears what the model has or that it is not there.
TEST_F(SqliteStoreTest, AModelThatIsDeletedWhileItIsOpenedIsNotDamagedAndTakesNoMore) {
  std::vector<std::string> warnings;
  StoreOptions options;
  options.hooks.on_warning = [&](const std::string& text) { warnings.push_back(text); };
  {
    const auto store = MustOpen(options);
    std::atomic<bool> over = false;
    std::thread opener([&] {
      while (!over) {
        History history;
        const auto journal = store->Open("m", ReaderInto(history));
        if (journal.ok()) {
          (void)AppendAndWait(**journal, Records(100, 101));
        } else {
          const absl::Status status = journal.status();
          EXPECT_TRUE(absl::IsNotFound(status) || absl::IsAborted(status)) << status;
        }
      }
    });
    for (int round = 0; round < 300; ++round) {
      const auto journal = Create(*store, "m");
      (void)AppendAndWait(*journal, Records(1, 3));
      EXPECT_TRUE(store->Delete("m").ok());
    }
    over = true;
    opener.join();
  }
  EXPECT_TRUE(MustOpen(options)->Models()->empty());
  EXPECT_TRUE(warnings.empty()) << warnings.front();
}

TEST(OpenStoreTest, AUriThatNamesNoStoreIsRefused) {
  for (const char* uri : {"", "sqlite://relative/x.db", "sqlite:///", "mysql://x", "memory"}) {
    EXPECT_EQ(OpenStore(uri, {}).status().code(), absl::StatusCode::kInvalidArgument) << uri;
  }
}

}  // namespace
}  // namespace lazynorm
