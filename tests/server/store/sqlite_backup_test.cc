// Copies of a store while it serves.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "tests/server/store/sqlite_fixture.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

class SqliteBackupTest : public SqliteStoreTest {};

constexpr size_t kLarge = 300'000;

TEST_F(SqliteBackupTest, ABackupHoldsAllRecordsThoughTheyGoMeanwhile) {
  const auto store = MustOpen();
  const auto journal = Create(*store, "m");
  for (int step = 1; step <= 20; ++step) {
    ASSERT_TRUE(AppendAndWait(*journal, Records(step, step, kLarge)).ok());
  }
  std::atomic<bool> over = false;
  std::thread writer([&] {
    for (int step = 21; !over; ++step) {
      EXPECT_TRUE(AppendAndWait(*journal, Records(step, step, kLarge)).ok());
      EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("at ", step)).ok());
    }
  });
  for (int round = 0; round < 4; ++round) {
    const std::string backup = folder_.path() / absl::StrCat("backup-", round);
    const absl::Status made = store->Backup(backup);
    EXPECT_TRUE(made.ok()) << made;
    const fs::path other = folder_.path() / absl::StrCat("other-", round);
    ASSERT_TRUE(RestoreBackup(Uri(other), backup).ok());
    const auto restored = OpenStore(Uri(other), {});
    ASSERT_TRUE(restored.ok()) << restored.status();
    History history;
    EXPECT_TRUE((*restored)->Open("m", ReaderInto(history)).ok());
    EXPECT_TRUE(history.as_written([](int64_t step) { return step == 0 ? size_t{100} : kLarge; }));
  }
  over = true;
  writer.join();
}

TEST_F(SqliteBackupTest, ABackupIsAStoreOfItsOwnAndNeedsAnEmptyFolder) {
  const auto store = MustOpen();
  const auto journal = Create(*store, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 10)).ok());
  EXPECT_TRUE(SnapshotAndWait(*journal, RecordOf(3, 600'000).payload).ok());
  const std::string backup = folder_.path() / "backup";
  const absl::Status made = store->Backup(backup);
  ASSERT_TRUE(made.ok()) << made;
  EXPECT_EQ(store->Backup(backup).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(AppendAndWait(*journal, Records(11, 12)).ok());
  const fs::path other = folder_.path() / "other";
  ASSERT_TRUE(RestoreBackup(Uri(other), backup).ok());
  EXPECT_EQ(RestoreBackup(Uri(other), backup).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(RestoreBackup(Uri(folder_.path() / "x"), folder_.path() / "none").code(),
            absl::StatusCode::kFailedPrecondition);
  const auto restored = OpenStore(Uri(other), {});
  ASSERT_TRUE(restored.ok()) << restored.status();
  History history;
  auto reopened = (*restored)->Open("m", ReaderInto(history));
  ASSERT_TRUE(reopened.ok()) << reopened.status();
  EXPECT_TRUE(history.snapshot == RecordOf(3, 600'000).payload);
  EXPECT_TRUE((*reopened)->end() ==
              Position({(*reopened)->end().seq, 10, (*reopened)->end().chain}));
}

// The log of the database that was there would be taken for that of the one that comes.
TEST_F(SqliteBackupTest, ABackupIsNotRestoredBesideWhatIsLeftOfAnotherDatabase) {
  const std::string backup = folder_.path() / "backup";
  {
    const auto store = MustOpen();
    const auto journal = Create(*store, "m");
    ASSERT_TRUE(store->Backup(backup).ok());
  }
  for (const char* name : {"lazynorm.db-wal", "lazynorm.marks", "lazynorm.journal"}) {
    const fs::path other = folder_.path() / absl::StrCat("other-", name);
    fs::create_directories(other);
    WriteFile(other / name, "left");
    const absl::Status refused = RestoreBackup(Uri(other), backup);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(absl::StrContains(refused.message(), name)) << refused;
    fs::remove(other / name);
    EXPECT_TRUE(RestoreBackup(Uri(other), backup).ok());
  }
}

}  // namespace
}  // namespace lazynorm
