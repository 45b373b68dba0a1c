// What every store must do.
#include "server/store/store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

class StoreTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { Make({}); }
  bool on_disk() const { return std::string(GetParam()) != "memory"; }
  std::string Uri() {
    const std::string kind = GetParam();
    if (kind == "memory") return "memory:";
    if (kind == "postgres") return NewDatabase();
    return absl::StrCat("sqlite://", folder_.path().string(), "/lazynorm.db");
  }
  void Make(StoreOptions options) {
    store_.reset();
    if (uri_.empty()) uri_ = Uri();
    options.lease_timeout = kLongLease;
    auto store = OpenStore(uri_, std::move(options));
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // The process ends and begins again, where that keeps anything.
  void Restart(StoreOptions options = {}) {
    if (on_disk()) Make(std::move(options));
  }
  std::unique_ptr<Journal> Create(absl::string_view model) {
    auto journal = store_->Create(model, RecordOf(0));
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }
  std::unique_ptr<Journal> Open(absl::string_view model, History& history) {
    history = {};
    auto journal = store_->Open(model, ReaderInto(history));
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }
  History ReadBack(absl::string_view model) {
    History history;
    Open(model, history);
    return history;
  }

  TempFolder folder_;
  std::string uri_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreTest, WhatWasAppendedIsReadBackInItsOrder) {
  auto journal = Create("m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
  EXPECT_TRUE(AppendAndWait(*journal, Records(4, 4)).ok());
  const Position end = journal->end();
  EXPECT_EQ(end.step, 4);
  journal.reset();
  Restart();
  History history;
  journal = Open("m", history);
  EXPECT_EQ(history.steps(), "0 1 2 3 4");
  EXPECT_TRUE(history.as_written());
  EXPECT_EQ(history.snapshot, "");
  EXPECT_TRUE(journal->end() == end);
  EXPECT_TRUE(AppendAndWait(*journal, Records(5, 5)).ok());
  EXPECT_EQ(ReadBack("m").steps(), "0 1 2 3 4 5");
}

TEST_P(StoreTest, EmptyAndLargeRecordsComeBackWhole) {
  auto journal = Create("m");
  std::vector<Record> records = {{.step = 1, .kind = 7}, RecordOf(2, 3 << 20)};
  EXPECT_EQ(AppendAndWait(*journal, records), absl::OkStatus());
  const History history = ReadBack("m");
  ASSERT_EQ(history.records.size(), 3u);
  EXPECT_EQ(history.records[1].kind, 7);
  EXPECT_EQ(history.records[1].payload, "");
  EXPECT_TRUE(history.records[2].payload == records[1].payload);
}

TEST_P(StoreTest, AnAppendOfNothingHearsWhenAllBeforeIsDurable) {
  auto journal = Create("m");
  std::atomic<bool> first = false;
  journal->Append(Records(1, 1), [&](const absl::Status&) { first = true; });
  EXPECT_TRUE(AppendAndWait(*journal, {}).ok());
  EXPECT_TRUE(first);
}

TEST_P(StoreTest, ManyModelsAtOnceKeepEachTheirOwn) {
  constexpr int kModels = 8, kSteps = 100;
  std::vector<std::thread> writers;
  for (int k = 0; k < kModels; ++k) {
    writers.emplace_back([this, k] {
      const auto journal = Create(absl::StrCat("m", k));
      std::promise<void> all;
      for (int i = 1; i <= kSteps; ++i) {
        journal->Append(Records(i, i), [&all, i](const absl::Status& status) {
          EXPECT_TRUE(status.ok()) << status;
          if (i == kSteps) all.set_value();
        });
      }
      all.get_future().wait();
    });
  }
  for (std::thread& writer : writers) writer.join();
  Restart();
  EXPECT_EQ(store_->Models()->size(), size_t{kModels});
  for (int k = 0; k < kModels; ++k) {
    const History history = ReadBack(absl::StrCat("m", k));
    EXPECT_EQ(history.records.size(), size_t{kSteps + 1});
    EXPECT_TRUE(history.as_written());
  }
}

TEST_P(StoreTest, AModelIsReadFromItsNewestSnapshotOn) {
  auto journal = Create("m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
  EXPECT_TRUE(SnapshotAndWait(*journal, "state at 3").ok());
  EXPECT_TRUE(AppendAndWait(*journal, Records(4, 6)).ok());
  journal.reset();
  Restart();
  const History history = ReadBack("m");
  EXPECT_EQ(history.snapshot, "state at 3");
  EXPECT_EQ(history.steps(), "4 5 6");
}

TEST_P(StoreTest, ASnapshotLargerThanAChunkComesBackWhole) {
  auto journal = Create("m");
  const std::string bytes = RecordOf(5, 2'000'000).payload;
  EXPECT_TRUE(SnapshotAndWait(*journal, bytes).ok());
  journal.reset();
  Restart();
  EXPECT_TRUE(ReadBack("m").snapshot == bytes);
}

TEST_P(StoreTest, TheJournalReachesBackToTheOlderOfTwoSnapshots) {
  auto journal = Create("m");
  for (int i = 1; i <= 9; ++i) {
    EXPECT_TRUE(AppendAndWait(*journal, Records(i, i)).ok());
    if (i % 3 != 0) continue;
    EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("state at ", i)).ok());
  }
  for (const bool restarted : {false, true}) {
    History history;
    ASSERT_TRUE(store_->ReadAt("m", 7, ReaderInto(history)).ok());
    EXPECT_EQ(history.snapshot, "state at 6");
    EXPECT_EQ(history.steps(), "7");
    history = {};
    ASSERT_TRUE(store_->ReadAt("m", 6, ReaderInto(history)).ok());
    EXPECT_EQ(history.snapshot, "state at 6");
    EXPECT_EQ(history.steps(), "");
    const absl::Status before = store_->ReadAt("m", 2, ReaderInto(history));
    EXPECT_EQ(before.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(ReasonIn(before), "STEP_NOT_KEPT");
    EXPECT_EQ(store_->ReadAt("m", 10, ReaderInto(history)).code(), absl::StatusCode::kOutOfRange);
    journal.reset();
    if (!restarted) Restart();
  }
}

TEST_P(StoreTest, MoreSnapshotsReachBackFurther) {
  Make({.snapshots_per_model = 4});
  auto journal = Create("m");
  for (int i = 1; i <= 18; ++i) {
    EXPECT_TRUE(AppendAndWait(*journal, Records(i, i)).ok());
    if (i % 3 != 0) continue;
    EXPECT_TRUE(SnapshotAndWait(*journal, absl::StrCat("state at ", i)).ok());
  }
  History history;
  ASSERT_TRUE(store_->ReadAt("m", 10, ReaderInto(history)).ok());
  EXPECT_EQ(history.snapshot, "state at 9");
  EXPECT_EQ(history.steps(), "10");
  EXPECT_EQ(ReasonIn(store_->ReadAt("m", 2, ReaderInto(history))), "STEP_NOT_KEPT");
}

TEST_P(StoreTest, AStepThatTheModelStoodAtTwiceIsTheLaterOne) {
  auto journal = Create("m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 3)).ok());
  // Back to 1, and on another way.
  Record back = RecordOf(1), other = RecordOf(2);
  back.payload = "back to 1";
  other.payload = "another 2";
  EXPECT_TRUE(AppendAndWait(*journal, {back, other}).ok());
  History history;
  ASSERT_TRUE(store_->ReadAt("m", 2, ReaderInto(history)).ok());
  EXPECT_EQ(history.steps(), "0 1 2 3 1 2");
  EXPECT_EQ(history.records.back().payload, "another 2");
  history = {};
  ASSERT_TRUE(store_->ReadAt("m", 3, ReaderInto(history)).ok());
  EXPECT_EQ(history.steps(), "0 1 2 3");
}

TEST_P(StoreTest, AJournalThatWasOpenedAgainElsewhereMayNotWrite) {
  auto old = Create("m");
  EXPECT_TRUE(AppendAndWait(*old, Records(1, 1)).ok());
  History history;
  const auto journal = Open("m", history);
  EXPECT_EQ(AppendAndWait(*old, Records(2, 2)).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(AppendAndWait(*journal, Records(2, 2)).ok());
  EXPECT_EQ(ReadBack("m").steps(), "0 1 2");
}

TEST_P(StoreTest, ATooLargeRecordBreaksTheJournalUntilItIsOpenedAgain) {
  Make({.max_record_bytes = 1000});
  auto journal = Create("m");
  const absl::Status large = AppendAndWait(*journal, Records(1, 1, 2000));
  EXPECT_EQ(large.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonIn(large), "LIMIT_EXCEEDED");
  EXPECT_FALSE(AppendAndWait(*journal, Records(2, 2)).ok()) << "a gap";
  History history;
  journal = Open("m", history);
  EXPECT_EQ(history.steps(), "0");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 1)).ok());
}

TEST_P(StoreTest, ModelsAreCreatedOnceAndDeletedWithAllTheyHad) {
  auto journal = Create("m");
  const auto again = store_->Create("m", RecordOf(0));
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonIn(again.status()), "MODEL_EXISTS");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 2)).ok());
  EXPECT_TRUE(SnapshotAndWait(*journal, "state").ok());
  EXPECT_TRUE(store_->Delete("m").ok());
  EXPECT_EQ(AppendAndWait(*journal, Records(3, 3)).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonIn(store_->Delete("m")), "MODEL_NOT_FOUND");
  journal.reset();
  Restart();
  EXPECT_TRUE(store_->Models()->empty());
  Create("m");
  const History history = ReadBack("m");
  EXPECT_EQ(history.steps(), "0");
  EXPECT_EQ(history.snapshot, "");
}

TEST_P(StoreTest, WhatIsNotThereIsNotFound) {
  History history;
  EXPECT_EQ(ReasonIn(store_->Open("m", ReaderInto(history)).status()), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonIn(store_->ReadAt("m", 0, ReaderInto(history))), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonIn(store_->Checkpoints("m").status()), "MODEL_NOT_FOUND");
  Create("m");
  EXPECT_EQ(ReasonIn(store_->ReadCheckpoint("m", "1").status()), "CHECKPOINT_NOT_FOUND");
  EXPECT_EQ(ReasonIn(store_->DeleteCheckpoint("m", "x")), "CHECKPOINT_NOT_FOUND");
}

TEST_P(StoreTest, WhatAReaderAnswersEndsTheReading) {
  auto journal = Create("m");
  EXPECT_TRUE(AppendAndWait(*journal, Records(1, 5)).ok());
  int read = 0;
  const Reader reader{.on_record = [&](const Position&, const Record&) {
    return ++read == 3 ? absl::InternalError("enough") : absl::OkStatus();
  }};
  EXPECT_EQ(store_->Open("m", reader).status().message(), "enough");
  EXPECT_EQ(read, 3);
}

TEST_P(StoreTest, CheckpointsAreKeptUntilNewerOnesPushThemOut) {
  Make({.checkpoints_per_model = 2});
  auto journal = Create("m");
  std::vector<std::string> ids;
  for (int i = 1; i <= 3; ++i) {
    EXPECT_TRUE(AppendAndWait(*journal, Records(i, i)).ok());
    const auto info =
        CheckpointAndWait(*journal, absl::StrCat("label ", i), RecordOf(i, 400'000).payload);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->at.step, i);
    ids.push_back(info->id);
  }
  journal.reset();
  Restart({.checkpoints_per_model = 2});
  const auto infos = store_->Checkpoints("m");
  ASSERT_TRUE(infos.ok());
  ASSERT_EQ(infos->size(), 2u);
  EXPECT_EQ((*infos)[0].label, "label 2");
  EXPECT_EQ((*infos)[0].create_time, absl::FromUnixSeconds(7));
  EXPECT_EQ((*infos)[1].id, ids[2]);
  const auto snapshot = store_->ReadCheckpoint("m", ids[1]);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(snapshot->bytes == RecordOf(2, 400'000).payload);
  EXPECT_EQ(snapshot->at.step, 2);
  EXPECT_FALSE(store_->ReadCheckpoint("m", ids[0]).ok());
  EXPECT_TRUE(store_->DeleteCheckpoint("m", ids[1]).ok());
  EXPECT_EQ(store_->Checkpoints("m")->size(), 1u);
  // They do not bound what is read back.
  EXPECT_EQ(ReadBack("m").steps(), "0 1 2 3");
}

TEST_P(StoreTest, OneCommitTakesAllThatWaits) {
  std::atomic<int> commits = 0, records = 0;
  std::promise<void> begun, go;
  std::shared_future<void> gone = go.get_future().share();
  StoreOptions options;
  options.hooks.on_commit = [&](absl::Duration, int64_t count, int64_t) {
    ++commits;
    records += static_cast<int>(count);
  };
  Make(std::move(options));
  const auto a = Create("a"), b = Create("b");
  commits = records = 0;
  a->Append(Records(1, 1), [&](const absl::Status&) {
    begun.set_value();
    gone.wait();
  });
  begun.get_future().wait();  // the committer is held up
  std::promise<void> last;
  for (int i = 1; i <= 10; ++i) b->Append(Records(i, i), [](const absl::Status&) {});
  a->Append(Records(2, 2), [&](const absl::Status&) { last.set_value(); });
  go.set_value();
  last.get_future().wait();
  EXPECT_EQ(records, 12);
  EXPECT_TRUE(!on_disk() || commits == 2) << commits;
}

INSTANTIATE_TEST_SUITE_P(All, StoreTest, testing::Values("memory", "sqlite", "postgres"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lazynorm
