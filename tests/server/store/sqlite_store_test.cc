// What only a store on a disk must do.
#include "server/store/sqlite_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "server/store/sqlite_schema.h"
#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class SqliteStoreTest : public testing::Test {
 protected:
  std::string Uri(const fs::path& folder) const {
    return absl::StrCat("sqlite://", folder.string(), "/lazynorm.db");
  }
  absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options = {}) {
    return OpenStore(Uri(data_), std::move(options));
  }
  std::unique_ptr<Store> MustOpen(StoreOptions options = {}) {
    auto store = Open(std::move(options));
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static std::unique_ptr<Journal> Create(Store& store, absl::string_view model) {
    auto journal = store.Create(model, RecordOf(0));
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }

  TempFolder folder_;
  const fs::path data_ = folder_.path() / "data";
};

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

// The third record before the end is larger than the first segments of the journal's file.
constexpr int kDamagedRecords = 20, kLargeRecord = 18;
size_t SizeOf(int64_t step) {
  return step == kLargeRecord ? 270'000 : 100;
}

// Reads a store back after some damage: what comes must be what was written, or an error must say
// that it is not. Returns whether anything was said.
bool ReadsRightOrSaysSo(const std::string& uri, const std::vector<std::string>& models,
                        size_t records) {
  std::vector<std::string> warnings;
  StoreOptions options;
  options.hooks.on_warning = [&](const std::string& text) { warnings.push_back(text); };
  const auto store = OpenStore(uri, std::move(options));
  if (!store.ok()) return true;
  bool said = !warnings.empty();
  for (const std::string& model : models) {
    History history;
    const absl::Status status = (*store)->Open(model, ReaderInto(history)).status();
    said = said || !status.ok() || !history.warnings.empty();
    EXPECT_TRUE(history.as_written(SizeOf)) << "wrong bytes of " << model;
    EXPECT_TRUE(history.snapshot.empty() || history.snapshot == "state of " + model);
    if (status.ok() && history.warnings.empty()) {
      EXPECT_EQ(history.records.size(), history.snapshot.empty() ? records + 1 : records / 2)
          << "a shorter history of " << model << " and not a word";
    }
  }
  return said;
}

class DamageTest : public SqliteStoreTest {
 protected:
  static constexpr int kRecords = kDamagedRecords;

  void SetUp() override {
    {
      const auto store = MustOpen();
      std::vector<std::unique_ptr<Journal>> journals;
      for (const std::string& model : models_) {
        journals.push_back(Create(*store, model));
        EXPECT_TRUE(AppendAndWait(*journals.back(), Records(1, kRecords / 2)).ok());
        EXPECT_TRUE(SnapshotAndWait(*journals.back(), "state of " + model).ok());
        for (int step = kRecords / 2 + 1; step <= kRecords; ++step) {
          EXPECT_TRUE(AppendAndWait(*journals.back(), {RecordOf(step, SizeOf(step))}).ok());
        }
      }
      // As a killed process leaves it, with its write-ahead log.
      fs::copy(data_, killed_, fs::copy_options::recursive);
    }
    fs::copy(data_, closed_, fs::copy_options::recursive);
  }
  // Flips bits all over one file; every time, the store must read right or say that it does not.
  void FlipBits(const fs::path& original, const std::string& name, int flips) {
    const fs::path copy = folder_.path() / "copy";
    const std::string bytes = ReadFile(original / name);
    ASSERT_GT(bytes.size(), 0u);
    std::mt19937 random(5);
    int said = 0;
    for (int i = 0; i < flips; ++i) {
      fs::remove_all(copy);
      fs::copy(original, copy, fs::copy_options::recursive);
      std::string damaged = bytes;
      damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
      WriteFile(copy / name, damaged);
      said += ReadsRightOrSaysSo(Uri(copy), models_, kRecords);
    }
    // Most of a file is empty space; but not everything.
    EXPECT_GT(said, flips / 100) << "of " << flips << " flips in " << name;
  }

  const std::vector<std::string> models_ = {"a", "b", "c"};
  const fs::path killed_ = folder_.path() / "killed", closed_ = folder_.path() / "closed";
};

TEST_F(DamageTest, NoFlippedBitOfTheDatabaseGoesUnnoticed) {
  FlipBits(closed_, "lazynorm.db", 400);
}

TEST_F(DamageTest, NoFlippedBitOfTheWriteAheadLogGoesUnnoticed) {
  FlipBits(killed_, "lazynorm.db-wal", 400);
}

TEST_F(DamageTest, NoFlippedBitOfTheJournalsFileGoesUnnoticed) {
  FlipBits(closed_, "lazynorm.journal", 400);
}

TEST_F(DamageTest, NoFlippedBitOfTheMarksGoesUnnoticed) {
  FlipBits(killed_, "lazynorm.marks", 200);
}

TEST_F(DamageTest, NoCutOffWriteAheadLogGoesUnnoticed) {
  const std::string bytes = ReadFile(killed_ / "lazynorm.db-wal");
  const fs::path copy = folder_.path() / "copy";
  int said = 0;
  for (int k = 0; k < 40; ++k) {
    fs::remove_all(copy);
    fs::copy(killed_, copy, fs::copy_options::recursive);
    WriteFile(copy / "lazynorm.db-wal", bytes.substr(0, bytes.size() * k / 40));
    said += ReadsRightOrSaysSo(Uri(copy), models_, kRecords);
  }
  // What comes last in it is a snapshot, and the journal's file reaches back to before that.
  EXPECT_GT(said, 30);
  EXPECT_LT(said, 40);
}

TEST_F(DamageTest, TheOthersOfADamagedModelAreRead) {
  std::string bytes = ReadFile(closed_ / "lazynorm.journal");
  const size_t at = bytes.rfind("record 15 ");
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  WriteFile(closed_ / "lazynorm.journal", bytes);
  const auto store = OpenStore(Uri(closed_), {});
  ASSERT_TRUE(store.ok()) << store.status();
  int damaged = 0;
  for (const std::string& model : models_) {
    History history;
    const absl::Status status = (*store)->Open(model, ReaderInto(history)).status();
    if (status.ok()) continue;
    ++damaged;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(ReasonIn(status), "MODEL_DAMAGED");
    EXPECT_NE(status.message().find("lazynorm.journal, seq "), absl::string_view::npos) << status;
    EXPECT_TRUE((*store)->Delete(model).ok());
    EXPECT_TRUE((*store)->Create(model, RecordOf(0)).ok());
  }
  EXPECT_EQ(damaged, 1);
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

TEST_F(SqliteStoreTest, SpaceOfWhatIsDeletedIsUsedAgain) {
  const auto store = MustOpen();
  uintmax_t size = 0;
  for (int round = 0; round < 6; ++round) {
    auto journal = Create(*store, "m");
    EXPECT_TRUE(AppendAndWait(*journal, Records(1, 100, 20'000)).ok());
    EXPECT_TRUE(store->Delete("m").ok());
    journal = Create(*store, "barrier");  // what is behind it has been tidied, at the latest
    EXPECT_TRUE(store->Delete("barrier").ok());
    if (round == 2) size = fs::file_size(data_ / "lazynorm.db");
  }
  EXPECT_LE(fs::file_size(data_ / "lazynorm.db"), size + (4 << 20));
}

constexpr size_t kLarge = 300'000;

TEST_F(SqliteStoreTest, RecordsAreWrittenOnceBesideTheDatabase) {
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

TEST_F(SqliteStoreTest, TheRoomOfRecordsThatAreNeededNoMoreIsUsedAgain) {
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
TEST_F(SqliteStoreTest, RecordsThatOutliveTheOthersAreMovedTogether) {
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
TEST_F(SqliteStoreTest, ALongReadingLetsTheJournalGrowByWhatIsWrittenAlone) {
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

TEST_F(SqliteStoreTest, ADamagedOrMissingRecordIsNamed) {
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
TEST_F(SqliteStoreTest, WhatWasCutOffOnceStaysSo) {
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

TEST_F(SqliteStoreTest, ADatabaseWithoutItsJournalIsRefused) {
  MustOpen();
  fs::remove(data_ / "lazynorm.journal");
  const auto refused = OpenStore(Uri(data_), {});
  EXPECT_EQ(ReasonIn(refused.status()), "STORE_FAILED");
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "lazynorm.journal is missing"))
      << refused.status();
  WriteFile(data_ / "lazynorm.journal", "");
  EXPECT_TRUE(OpenStore(Uri(data_), {}).ok());
}

TEST_F(SqliteStoreTest, AJournalOfAnotherDatabaseIsNotLookedAt) {
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

TEST_F(SqliteStoreTest, ABackupHoldsAllRecordsThoughTheyGoMeanwhile) {
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

TEST_F(SqliteStoreTest, ABackupIsAStoreOfItsOwnAndNeedsAnEmptyFolder) {
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
TEST_F(SqliteStoreTest, ABackupIsNotRestoredBesideWhatIsLeftOfAnotherDatabase) {
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
