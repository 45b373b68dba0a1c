// Bits that flip, and ends that are missing: what comes back is right, or is said not to be.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/store/sqlite_fixture.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

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

}  // namespace
}  // namespace lazynorm
