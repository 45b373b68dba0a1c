// The file of the journal beside the database.
#include "server/store/sqlite_journal.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "tests/server/store/sqlite_fixture.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

class SqliteJournalTest : public SqliteStoreTest {};

constexpr size_t kLarge = 300'000;

TEST_F(SqliteJournalTest, RecordsAreWrittenOnceBesideTheDatabase) {
  {
    const auto store = MustOpen();
    const auto journal = Create(*store, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 4, kLarge)).ok());
    EXPECT_TRUE(AppendAndWait(*journal, Records(5, 5)).ok());
  }
  EXPECT_LT(fs::file_size(data_ / "lazynorm.db"), kLarge);
  EXPECT_GE(fs::file_size(data_ / "lazynorm.journal"), 4 * kLarge);
  const auto store = MustOpen();
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.steps(), "0 1 2 3 4 5");
  EXPECT_TRUE(history.as_written(
      [](int64_t step) { return step == 0 || step == 5 ? size_t{100} : kLarge; }));
}

TEST_F(SqliteJournalTest, TheRoomOfRecordsThatAreNeededNoMoreIsUsedAgain) {
  const fs::path file = data_ / "lazynorm.journal";
  for (int start = 0; start < 3; ++start) {
    const auto store = MustOpen();
    History history;
    auto journal = start == 0 ? Create(*store, "m") : *store->Open("m", ReaderInto(history));
    for (int step = 1 + 30 * start; step <= 30 + 30 * start; ++step) {
      ASSERT_TRUE(AppendAndWait(*journal, Records(step, step, kLarge)).ok());
      if (step % 5 == 0) {
        EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("at ", step)).ok());
      }
    }
  }
  // Some fifteen are needed at a time, and tidying may come a little late; there were ninety.
  EXPECT_LE(fs::file_size(file), 40 * kLarge);
  const auto store = MustOpen();
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.snapshot, "at 90");
  EXPECT_TRUE(history.as_written(kLarge));
}

// A record each minute among thousands a second: it must not hold the room of all of them.
TEST_F(SqliteJournalTest, RecordsThatOutliveTheOthersAreMovedTogether) {
  StoreOptions options;
  options.journal_segment_bytes = 16 << 10;
  constexpr int kSlow = 60;
  {
    const auto store = MustOpen(options);
    const auto slow = Create(*store, "slow"), fast = Create(*store, "fast");
    for (int i = 1; i <= kSlow; ++i) {
      ASSERT_TRUE(AppendAndWait(*slow, Records(i, i, 1000)).ok());
      ASSERT_TRUE(AppendAndWait(*fast, Records(i, i, 150'000)).ok());
      if (i % 3 == 0) {
        EXPECT_TRUE(SnapshotAndWait(*fast, absl::StrCat("at ", i)).ok());
      }
    }
  }
  // Nine megabytes went through it; about one is in use at a time.
  EXPECT_LT(fs::file_size(data_ / "lazynorm.journal"), 5u << 20);
  for (int start = 0; start < 2; ++start) {
    const auto store = MustOpen(options);
    History slow, fast;
    EXPECT_TRUE(store->Open("slow", ReaderInto(slow)).ok());
    EXPECT_EQ(slow.records.size(), size_t{kSlow} + 1);
    EXPECT_TRUE(slow.as_written([](int64_t step) { return step == 0 ? size_t{100} : 1000; }));
    EXPECT_TRUE(store->Open("fast", ReaderInto(fast)).ok());
    EXPECT_EQ(fast.snapshot, absl::StrCat("at ", kSlow));
  }
}

// Moving records wins nothing while somebody reads: what they leave cannot be filled again.
TEST_F(SqliteJournalTest, ALongReadingLetsTheJournalGrowByWhatIsWrittenAlone) {
  StoreOptions options;
  options.journal_segment_bytes = 4 << 10;  // the largest: 256 KiB
  const auto store = MustOpen(options);
  const auto steady = Create(*store, "steady"), busy = Create(*store, "busy");
  for (int step = 1; step <= 20; ++step) {
    ASSERT_TRUE(AppendAndWait(*steady, Records(step, step, 50'000)).ok());
  }
  const fs::path file = data_ / "lazynorm.journal";
  bool begun = false;
  Reader slow;
  slow.on_record = [&](const Position&, const Record&) {
    if (std::exchange(begun, true)) return absl::OkStatus();
    for (int step = 1; step <= 100; ++step) {
      EXPECT_TRUE(AppendAndWait(*busy, Records(step, step, 50'000)).ok());
      if (step % 5 == 0) {
        EXPECT_TRUE(SnapshotAndWait(*busy, absl::StrCat("at ", step)).ok());
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // time for what must not be
    return absl::OkStatus();
  };
  EXPECT_TRUE(store->ReadAt("steady", 20, slow).ok());
  EXPECT_LT(fs::file_size(file), 2 * 120 * 50'000);
}

TEST_F(SqliteJournalTest, ADamagedOrMissingRecordIsNamed) {
  {
    const auto store = MustOpen();
    const auto journal = Create(*store, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3, kLarge)).ok());
    EXPECT_TRUE(AppendAndWait(*journal, Records(4, 4)).ok());
  }
  const fs::path file = data_ / "lazynorm.journal";
  const std::string bytes = ReadFile(file);
  std::string damaged = bytes;
  damaged[damaged.find("record 2 ")] ^= 1;
  for (const std::string& found : {damaged, bytes.substr(0, bytes.size() / 2), std::string()}) {
    WriteFile(file, found);
    const auto store = MustOpen();
    History history;
    const absl::Status status = store->Open("m", ReaderInto(history)).status();
    EXPECT_EQ(ReasonIn(status), "MODEL_DAMAGED") << status;
    EXPECT_TRUE(history.as_written([](int64_t step) { return step == 0 ? size_t{100} : kLarge; }));
    // What is damaged owns no room, and its model can be deleted.
    const auto other = Create(*store, absl::StrCat("other-", found.size()));
    EXPECT_TRUE(AppendAndWait(*other, Records(1, 3, kLarge)).ok());
  }
  const auto store = MustOpen();
  EXPECT_TRUE(store->Delete("m").ok());
  EXPECT_TRUE(store->Create("m", RecordOf(0)).ok());
}

// A frame was cut off, others came behind it and over what was before it, and then it comes to
// light again: what never counted in it must not be believed.
TEST_F(SqliteJournalTest, WhatWasCutOffOnceStaysSo) {
  const fs::path file = data_ / "lazynorm.journal";
  StoreOptions options;
  options.journal_segment_bytes = 4 << 10;
  {
    const auto store = MustOpen(options);
    const auto idle = Create(*store, "idle"), busy = Create(*store, "busy");
    ASSERT_TRUE(AppendAndWait(*busy, Records(1, 1, 1000)).ok());
    ASSERT_TRUE(AppendAndWait(*idle, Records(1, 3, 500)).ok());
  }
  std::string bytes = ReadFile(file);
  bytes[bytes.find("record 2 ")] ^= 1;  // of the newest frame: its third record is whole
  WriteFile(file, bytes);
  fs::remove(data_ / "lazynorm.marks");  // as after a power cut: it was not acknowledged
  {
    const auto store = MustOpen(options);
    History history;
    const auto idle = *store->Open("idle", ReaderInto(history));
    EXPECT_EQ(history.steps(), "0 1");
    auto busy = *store->Open("busy", ReaderInto(history));
    // These take, in the database, the places in the order of all that were given up.
    Create(*store, "x");
    Create(*store, "y");
    // Until the first segment is filled again, by one small frame.
    ASSERT_TRUE(SnapshotAndWait(*idle, "idle at 1").ok());
    ASSERT_TRUE(AppendAndWait(*idle, {}).ok());
    ASSERT_TRUE(SnapshotAndWait(*idle, "idle at 1 again").ok());
    int64_t first = 0;
    for (int step = 2; step < 60 && first == 0; ++step) {
      ASSERT_TRUE(AppendAndWait(*busy, Records(step, step, 900)).ok());
      ASSERT_TRUE(SnapshotAndWait(*busy, absl::StrCat("at ", step)).ok());
      first = ReadFile(file)[0] == bytes[0] && ReadFile(file)[8] != bytes[8] ? step : 0;
    }
    ASSERT_NE(first, 0) << "it was not filled again";
    ASSERT_NE(ReadFile(file).substr(0, 4096).find("record 3 "), std::string::npos);
    for (int step = 60; step < 64; ++step) {
      ASSERT_TRUE(AppendAndWait(*busy, Records(step, step, 5000)).ok());
      ASSERT_TRUE(SnapshotAndWait(*busy, absl::StrCat("at ", step)).ok());
    }
  }
  MustOpen(options);
  bytes = ReadFile(file);
  bytes[16] ^= 1;  // the header of a frame that is needed no more
  WriteFile(file, bytes);
  const auto store = MustOpen(options);
  History history;
  const absl::Status status = store->Open("idle", ReaderInto(history)).status();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(history.steps(), "");
}

TEST_F(SqliteJournalTest, ADatabaseWithoutItsJournalIsRefused) {
  MustOpen();
  fs::remove(data_ / "lazynorm.journal");
  const auto refused = OpenStore(Uri(data_), {});
  EXPECT_EQ(ReasonIn(refused.status()), "STORE_FAILED");
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "lazynorm.journal is missing"))
      << refused.status();
  WriteFile(data_ / "lazynorm.journal", "");
  EXPECT_TRUE(OpenStore(Uri(data_), {}).ok());
}

TEST_F(SqliteJournalTest, AJournalOfAnotherDatabaseIsNotLookedAt) {
  {
    const auto store = MustOpen();
    const auto journal = Create(*store, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
  }
  for (const char* name : {"lazynorm.db", "lazynorm.marks"}) fs::remove(data_ / name);
  const auto store = MustOpen();
  EXPECT_TRUE(store->Models()->empty());
  const auto journal = Create(*store, "m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 1)).ok());
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_EQ(history.steps(), "0 1");
}

}  // namespace
}  // namespace lazynorm
