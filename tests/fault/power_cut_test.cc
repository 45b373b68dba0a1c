// A store on a disk that loses what was not synced: whatever the moment, all that was acknowledged
// is there, in order and as it was written, and nothing is taken for damaged.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "server/store/journal_file.h"
#include "server/store/store.h"
#include "tests/fault/fault_vfs.h"
#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;
using Fault = FaultVfs::Fault;
using Cut = FaultVfs::Cut;

// How many random cuts; by hand LAZYNORM_POWER_CUTS may ask for more, and then nothing is left out
// of what is tried at every operation either.
int Rounds() {
  const char* const rounds = getenv("LAZYNORM_POWER_CUTS");
  int number = 0;
  return rounds != nullptr && absl::SimpleAtoi(rounds, &number) ? number : 200;
}
bool Thorough() {
  return Rounds() > 200;
}

// Now and then two that need segments of their own in the journal's file.
size_t SizeOf(int64_t step) {
  return step % 8 == 1 || step % 8 == 2 ? 140'000 : 3000;
}

std::string StateAt(int64_t step) {
  return RecordOf(static_cast<int>(step), 300'000).payload;
}

// What was asked of a store and what it has said.
struct Account {
  std::map<std::string, int64_t> sent, acknowledged;  // steps of each model that is not deleted
  std::map<std::string, int64_t> checkpoints;         // acknowledged: id, step
  std::set<std::string> unsure;                       // being created or deleted when it ended
  std::atomic<bool> fatal = false;
};

class PowerCutTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { FaultVfs::Install(); }
  void SetUp() override { NewDisk(); }

  void NewDisk() {
    FaultVfs::Reset();
    fs::remove_all(data_);
    account_.sent.clear();
    account_.acknowledged.clear();
    account_.checkpoints.clear();
    account_.unsure.clear();
    account_.fatal = false;
  }
  absl::StatusOr<std::unique_ptr<Store>> Open(Durability durability = Durability::kFsync) {
    StoreOptions options;
    options.durability = durability;
    options.checkpoint_pages = 60;            // so that the write-ahead log is often moved
    options.journal_segment_bytes = 8 << 10;  // and that segments are filled again
    options.hooks.on_fatal = [this](const std::string&) { account_.fatal = true; };
    options.hooks.on_warning = [this](const std::string& text) { warnings_.push_back(text); };
    return OpenStore(absl::StrCat("sqlite://", data_.string(), "/lazynorm.db"), std::move(options));
  }

  bool Append(Journal& journal, const std::string& model, int64_t first, int64_t last) {
    account_.sent[model] = last;
    std::vector<Record> records;
    for (int64_t step = first; step <= last; ++step) {
      records.push_back(RecordOf(static_cast<int>(step), SizeOf(step)));
    }
    const absl::Status kept = AppendAndWait(journal, std::move(records));
    if (kept.ok()) account_.acknowledged[model] = last;
    return kept.ok();
  }
  std::unique_ptr<Journal> Create(Store& store, const std::string& model) {
    account_.unsure.insert(model);
    account_.sent[model] = 0;
    auto journal = store.Create(model, RecordOf(0, SizeOf(0)));
    if (!journal.ok()) return nullptr;
    account_.unsure.erase(model);
    account_.acknowledged[model] = 0;
    return *std::move(journal);
  }

  // A little life of a store, the same each time, until something fails.
  void Live() {
    auto store = Open();
    if (!store.ok()) return;
    const auto a = Create(**store, "a");
    if (a == nullptr) return;
    auto b = Create(**store, "b");
    if (b == nullptr) return;
    // It learns seldom: its records outlive those around them.
    const auto c = Create(**store, "c");
    if (c == nullptr) return;
    for (int64_t step = 1; step <= 24; step += 2) {
      if (!Append(*a, "a", step, step + 1)) return;
      if (step < 9 && !Append(*b, "b", step, step + 1)) return;
      if (step % 8 == 3 && !Append(*c, "c", step / 8 + 1, step / 8 + 1)) return;
      if (step % 6 == 5 && !SnapshotAndWait(*a, StateAt(step + 1)).ok()) return;
      if (step == 7) {
        const auto checkpoint = CheckpointAndWait(*a, "kept", StateAt(step + 1));
        if (!checkpoint.ok()) return;
        account_.checkpoints[checkpoint->id] = step + 1;
      }
      if (step == 9) {
        account_.unsure.insert("b");
        if (!(*store)->Delete("b").ok()) return;
        account_.unsure.erase("b");
        account_.acknowledged.erase("b");
        account_.sent.erase("b");
        b.reset();
      }
    }
  }

  // A start, as far as it comes.
  void Recover() {
    const auto store = Open();
    if (!store.ok()) return;
    History history;
    (void)(*store)->Open("a", ReaderInto(history));
  }

  // Everything that was acknowledged must be there, right.
  void CheckLife(const std::string& what) {
    SCOPED_TRACE(what);
    warnings_.clear();
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE(warnings_.empty()) << warnings_.front();
    std::set<std::string> there;
    const auto models = (*store)->Models();
    ASSERT_TRUE(models.ok()) << models.status();
    for (const StoredModel& model : *models) there.insert(model.model);
    for (const auto& [model, acknowledged] : account_.acknowledged) {
      if (account_.unsure.count(model) > 0 && there.count(model) == 0) continue;
      CheckModel(**store, model, acknowledged);
    }
    for (const std::string& model : there) {
      EXPECT_TRUE(account_.sent.count(model) > 0) << model << " had been deleted";
    }
    for (const auto& [id, step] : account_.checkpoints) {
      const auto checkpoint = (*store)->ReadCheckpoint("a", id);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      EXPECT_TRUE(checkpoint->bytes == StateAt(step));
    }
  }
  void CheckModel(Store& store, const std::string& model, int64_t acknowledged) {
    History history;
    const auto journal = store.Open(model, ReaderInto(history));
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_TRUE(history.warnings.empty()) << history.warnings.front();
    EXPECT_TRUE(history.as_written(SizeOf));
    int64_t step = 0;
    if (history.snapshot.empty()) {
      ASSERT_FALSE(history.records.empty());
    } else {
      absl::string_view words = history.snapshot;
      ASSERT_TRUE(absl::SimpleAtoi(words.substr(7, words.find(' ', 7) - 7), &step));
      EXPECT_TRUE(history.snapshot == StateAt(step));
      ++step;
    }
    for (const Record& record : history.records) EXPECT_EQ(record.step, step++);
    const int64_t last = step - 1;
    EXPECT_GE(last, acknowledged) << "acknowledged and lost";
    EXPECT_LE(last, account_.sent[model]) << "never sent";
    // It goes on.
    EXPECT_TRUE(
        AppendAndWait(**journal, Records(static_cast<int>(step), static_cast<int>(step), 3000))
            .ok());
  }

  int64_t OperationsOfALife() {
    NewDisk();
    FaultVfs::Arm(Fault::kNone, 0);
    Live();
    EXPECT_EQ(account_.acknowledged["a"], 24);
    return FaultVfs::operations();
  }

  TempFolder folder_;
  const fs::path data_ = folder_.path() / "data";
  Account account_;
  std::vector<std::string> warnings_;
  std::mt19937_64 random_{11};
};

TEST_F(PowerCutTest, AtEveryOperationAndEveryWayOfLosingWhatWasNotSynced) {
  const int64_t operations = OperationsOfALife();
  ASSERT_GT(operations, 100);
  int64_t fired = 0, tried = 0;
  for (int64_t at = 1; at <= operations; ++at) {
    for (const Cut cut : {Cut::kAllUnsynced, Cut::kSomeUnsynced, Cut::kNothing}) {
      if (!Thorough() && at % 3 != static_cast<int64_t>(cut)) continue;
      NewDisk();
      FaultVfs::Arm(Fault::kPowerCut, at);
      Live();
      ++tried;
      fired += FaultVfs::fired();
      FaultVfs::CutPower(cut, random_);
      CheckLife(absl::StrCat("operation ", at));
      if (HasFailure()) return;
    }
  }
  std::cout << operations << " operations, " << tried << " power cuts\n";
  // Chores come when they come: a few more or fewer operations from run to run.
  EXPECT_GT(fired, tried * 9 / 10);
}

TEST_F(PowerCutTest, AtEveryOperationOfTheRecovery) {
  const int64_t operations = OperationsOfALife();
  const fs::path left = folder_.path() / "left";
  int64_t tried = 0;
  for (int64_t at = 1; at <= operations; at += Thorough() ? 1 : 23) {
    NewDisk();
    FaultVfs::Arm(Fault::kPowerCut, at);
    Live();
    FaultVfs::CutPower(Cut::kSomeUnsynced, random_);
    fs::remove_all(left);
    if (fs::exists(data_)) fs::copy(data_, left, fs::copy_options::recursive);
    bool fired = true;
    for (int64_t again = 1; fired; ++again) {
      FaultVfs::Reset();
      fs::remove_all(data_);
      if (fs::exists(left)) fs::copy(left, data_, fs::copy_options::recursive);
      FaultVfs::Arm(Fault::kPowerCut, again);
      Recover();
      fired = FaultVfs::fired();
      tried += fired;
      FaultVfs::CutPower(Cut::kSomeUnsynced, random_);
      CheckLife(absl::StrCat("operation ", at, ", and ", again, " of the recovery"));
      if (HasFailure()) return;
    }
  }
  std::cout << tried << " power cuts of a recovery\n";
  EXPECT_GT(tried, operations / 23);
}

// A process is killed, the next one finds in the system's memory what the disk does not have yet,
// and then power fails.
TEST_F(PowerCutTest, WhatAStartHasFoundIsThereAfterAPowerCut) {
  const int64_t operations = OperationsOfALife();
  for (int64_t at = 1; at <= operations; at += Thorough() ? 1 : 2) {
    NewDisk();
    FaultVfs::Arm(Fault::kPowerCut, at);
    Live();
    FaultVfs::Arm(Fault::kNone, 0);
    {
      const auto store = Open(at / 2 % 2 == 0 ? Durability::kFsync : Durability::kAsync);
      ASSERT_TRUE(store.ok()) << store.status();
      History history;
      const auto a = (*store)->Open("a", ReaderInto(history));
      if (a.ok()) {
        const int64_t step = (*a)->end().step;
        account_.acknowledged["a"] = step;  // whoever repeats a request hears that it was done
        account_.unsure.erase("a");
        if (at / 2 % 2 != 0) {
          account_.sent["a"] = step + 1;
          ASSERT_TRUE(
              AppendAndWait(**a, {RecordOf(static_cast<int>(step) + 1, SizeOf(step + 1))}).ok());
        }
      }
    }
    FaultVfs::CutPower(Cut::kAllUnsynced, random_);
    CheckLife(absl::StrCat("operation ", at));
    if (HasFailure()) return;
  }
}

TEST_F(PowerCutTest, AtRandomAndAtRandomAgain) {
  const int64_t operations = OperationsOfALife();
  for (int round = 0; round < Rounds(); ++round) {
    NewDisk();
    FaultVfs::Arm(Fault::kPowerCut, 1 + static_cast<int64_t>(random_() % operations));
    Live();
    FaultVfs::CutPower(random_() % 4 == 0 ? Cut::kAllUnsynced : Cut::kSomeUnsynced, random_);
    // The next start is cut off as well, at some point or other.
    FaultVfs::Arm(Fault::kPowerCut, 1 + static_cast<int64_t>(random_() % 12));
    Recover();
    FaultVfs::CutPower(Cut::kSomeUnsynced, random_);
    CheckLife(absl::StrCat("round ", round));
    if (HasFailure()) return;
  }
}

TEST_F(PowerCutTest, AfterASyncThatFailedOnceNothingIsAcknowledgedThatIsNotThere) {
  const int64_t operations = OperationsOfALife();
  int64_t fired = 0, fatal = 0;
  for (int64_t at = 1; at <= operations; at += 3) {
    NewDisk();
    FaultVfs::Arm(Fault::kEio, at);
    Live();
    fired += FaultVfs::fired();
    fatal += account_.fatal;
    FaultVfs::CutPower(Cut::kAllUnsynced, random_);
    CheckLife(absl::StrCat("operation ", at));
    if (HasFailure()) return;
  }
  // Some come while the store is opened, which then just fails.
  EXPECT_GT(fired, operations / 4);
  EXPECT_GT(fatal, fired * 9 / 10);
}

TEST_F(PowerCutTest, ADiskThatFailsForGoodEndsTheStoreAndLosesNothing) {
  const int64_t operations = OperationsOfALife();
  for (int64_t at = 1; at <= operations; at += 5) {
    NewDisk();
    FaultVfs::Arm(Fault::kEioForGood, at);
    Live();
    FaultVfs::CutPower(Cut::kAllUnsynced, random_);
    CheckLife(absl::StrCat("operation ", at));
    if (HasFailure()) return;
  }
}

TEST_F(PowerCutTest, AFullDiskEndsNothing) {
  const int64_t operations = OperationsOfALife();
  for (int64_t at = 30; at <= operations; at += 7) {
    NewDisk();
    FaultVfs::Arm(Fault::kNoSpace, at);
    Live();
    EXPECT_FALSE(account_.fatal) << "operation " << at;
    FaultVfs::CutPower(Cut::kNothing, random_);
    CheckLife(absl::StrCat("operation ", at));
    if (HasFailure()) return;
  }
}

// The file has grown for a frame that was cut off and is not there. Nor is it when the file grows
// again, beyond all that its header tells of, and other frames never came where it began.
TEST_F(PowerCutTest, AFrameThatIsNotThereDoesNotComeToLight) {
  const std::string path = folder_.path() / "journal";
  Position end = {0, 0, 11};
  const auto write = [&end](JournalFile& file, int64_t seq, size_t bytes) {
    const JournalRow row = ChainRow(7, end, seq, RecordOf(static_cast<int>(seq), bytes));
    Frame frame;
    frame.Add(7, row);
    const bool kept = file.Append(frame).ok();
    if (kept) end = row.at;
    return kept;
  };
  const auto open = [&path](std::vector<FoundRecord>* found) {
    auto file = JournalFile::Open(path, {.store_id = 1, .first_segment_bytes = 1024});
    EXPECT_TRUE(file.ok()) << file.status();
    auto there = (*file)->Find({});
    EXPECT_TRUE(there.ok()) << there.status();
    *found = *std::move(there);
    return *std::move(file);
  };
  int64_t cut_off = 0;
  for (int round = 0; round < 10 * Rounds(); ++round) {
    FaultVfs::Reset();
    fs::remove(path);
    end = {0, 0, 11};
    std::vector<FoundRecord> found;
    {
      const auto file = open(&found);
      ASSERT_TRUE(write(*file, 1, 20'000));
      FaultVfs::Arm(Fault::kPowerCut, 1 + static_cast<int64_t>(random_() % 6));
      write(*file, 2, 10'000);
    }
    FaultVfs::CutPower(Cut::kSomeUnsynced, random_);
    FaultVfs::Reset();
    auto file = open(&found);
    if (found.size() != 1) continue;  // all of it, or a part that is known for one
    ++cut_off;
    file->Take(found[0].place);
    ASSERT_TRUE(write(*file, 2, 60'000));  // in another segment
    ASSERT_TRUE(write(*file, 3, 60'000));
    file.reset();
    open(&found);
    ASSERT_EQ(found.size(), 3u) << "round " << round;
    for (const FoundRecord& record : found) EXPECT_TRUE(record.whole) << "round " << round;
  }
  EXPECT_GT(cut_off, 100);
}

}  // namespace
}  // namespace lazynorm
