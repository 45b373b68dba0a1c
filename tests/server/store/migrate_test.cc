// Moving all models from one store to another.
#include "server/store/migrate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

// What is kept of a model, in words, without the places that each store gives itself.
std::vector<std::string> Told(const Store& store, const std::string& model) {
  std::vector<std::string> told;
  const auto end = store.ReadHistory(
      model, {.on_snapshot =
                  [&](const Snapshot& s) {
                    told.push_back(absl::StrCat("snapshot ", s.at.step, " ", s.at.chain, " ",
                                                s.numeric_fingerprint, " ", s.bytes));
                    return absl::OkStatus();
                  },
              .on_record =
                  [&](const Position& at, const Record& r) {
                    told.push_back(absl::StrCat("record ", at.step, " ", at.chain, " ", r.kind, " ",
                                                r.request_id, " ", r.payload));
                    return absl::OkStatus();
                  }});
  EXPECT_TRUE(end.ok()) << end.status();
  const auto checkpoints = store.Checkpoints(model);
  EXPECT_TRUE(checkpoints.ok()) << checkpoints.status();
  for (const CheckpointInfo& info : *checkpoints) {
    const auto snapshot = store.ReadCheckpoint(model, info.id);
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    told.push_back(absl::StrCat("checkpoint ", info.label, " ", info.at.step, " ", info.at.chain,
                                " ", absl::ToUnixMicros(info.create_time), " ", snapshot->bytes));
  }
  return told;
}

// Whether the journal still has its creation record. May be asked while it is trimmed.
bool KeepsItsBeginning(const Store& store, const std::string& model) {
  bool keeps = false;
  const auto end = store.ReadHistory(model, {.on_record = [&](const Position& at, const Record&) {
                                       keeps = keeps || at.step == 0;
                                       return absl::OkStatus();
                                     }});
  EXPECT_TRUE(end.ok() || absl::IsAborted(end.status())) << end.status();
  return keeps || !end.ok();
}

class MigrateTest : public testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  std::string NewStore(const std::string& kind) {
    if (kind == "postgres") return NewDatabase();
    return absl::StrCat("sqlite://", folder_.path().string(), "/", ++folders_, "/lazynorm.db");
  }
  static std::unique_ptr<Store> MustOpen(const std::string& uri) {
    auto store = OpenStore(uri, {.lease_timeout = kLongLease});
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  // A young model with its whole journal; an old one whose beginning is trimmed away, with a
  // checkpoint from before.
  void Fill(const std::string& uri) {
    const auto store = MustOpen(uri);
    const auto young = store->Create("young", RecordOf(0));
    EXPECT_TRUE(AppendAndWait(**young, Records(1, 1200)).ok());
    EXPECT_TRUE(SnapshotAndWait(**young, RecordOf(1, 1'500'000).payload).ok());
    EXPECT_TRUE(AppendAndWait(**young, Records(1201, 1210)).ok());
    const auto old = store->Create("old", RecordOf(0));
    for (int i = 1; i <= 8; ++i) {
      EXPECT_TRUE(AppendAndWait(**old, Records(i, i)).ok());
      if (i == 1 || i == 7) {
        EXPECT_TRUE(CheckpointAndWait(**old, absl::StrCat("at ", i), "c").ok());
      }
      if (i % 2 != 0) continue;
      EXPECT_TRUE(SnapshotAndWait(**old, absl::StrCat("state at ", i)).ok());
    }
    EXPECT_TRUE(AppendAndWait(**old, Records(9, 9)).ok());
    while (KeepsItsBeginning(*store, "old")) {
    }
  }
  absl::Status Migrate() {
    return MigrateStore(from_, to_, [this](const std::string& line) { lines_.push_back(line); });
  }

  TempFolder folder_;
  int folders_ = 0;
  const std::string from_ = NewStore(GetParam().first), to_ = NewStore(GetParam().second);
  std::vector<std::string> lines_;
};

TEST_P(MigrateTest, ModelsMoveWithAllTheirHistoryAndGoOn) {
  Fill(from_);
  const absl::Status moved = Migrate();
  ASSERT_TRUE(moved.ok()) << moved;
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_EQ(lines_[0], "model \"old\": step 9, 3 records, 2 snapshots, 2 checkpoints");
  EXPECT_EQ(lines_[1], "model \"young\": step 1210, 1211 records, 1 snapshots, 0 checkpoints");
  const auto from = MustOpen(from_), to = MustOpen(to_);
  for (const char* const model : {"old", "young"}) {
    EXPECT_EQ(Told(*from, model), Told(*to, model)) << model;
    History history;
    const auto journal = to->Open(model, ReaderInto(history));
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_NE(history.snapshot, "");
    const int next = static_cast<int>((*journal)->end().step) + 1;
    EXPECT_TRUE(AppendAndWait(**journal, Records(next, next)).ok());
    EXPECT_TRUE(SnapshotAndWait(**journal, "newer").ok());
  }
}

TEST_P(MigrateTest, ItMayBeRepeatedAndReplacesOnlyWhatItBegan) {
  Fill(from_);
  {
    const auto to = MustOpen(to_);  // as a run that ended early leaves it
    const auto young = to->Create("young", RecordOf(0));
    EXPECT_TRUE(AppendAndWait(**young, Records(1, 500)).ok());
  }
  ASSERT_TRUE(Migrate().ok());
  lines_.clear();
  ASSERT_TRUE(Migrate().ok());
  EXPECT_EQ(lines_[0], "model \"old\": is there already");
  EXPECT_EQ(Told(*MustOpen(from_), "young"), Told(*MustOpen(to_), "young"));
  {
    const auto to = MustOpen(to_);
    History history;
    const auto young = to->Open("young", ReaderInto(history));
    EXPECT_TRUE(AppendAndWait(**young, Records(1211, 1211)).ok());
  }
  EXPECT_EQ(ReasonIn(Migrate()), "MODEL_EXISTS") << "it has learned more meanwhile";
}

TEST_P(MigrateTest, CheckpointsOfTheTargetStay) {
  Fill(from_);
  ASSERT_TRUE(Migrate().ok());
  std::string mine;
  {
    const auto to = MustOpen(to_);
    History history;
    const auto young = to->Open("young", ReaderInto(history));
    ASSERT_TRUE(young.ok()) << young.status();
    mine = CheckpointAndWait(**young, "mine", "c")->id;
  }
  {
    const auto from = MustOpen(from_);
    History history;
    const auto young = from->Open("young", ReaderInto(history));
    EXPECT_TRUE(CheckpointAndWait(**young, "later", "d").ok());
  }
  lines_.clear();
  ASSERT_TRUE(Migrate().ok());
  EXPECT_EQ(lines_[1], "model \"young\": is there already, 1 checkpoints were not");
  {
    const auto to = MustOpen(to_);
    const auto checkpoints = to->Checkpoints("young");
    ASSERT_TRUE(checkpoints.ok() && checkpoints->size() == 2);
    EXPECT_EQ((*checkpoints)[0].id, mine);
    EXPECT_EQ((*checkpoints)[1].label, "later");
    EXPECT_EQ(to->ReadCheckpoint("young", (*checkpoints)[1].id)->bytes, "d");
  }
  {
    const auto from = MustOpen(from_);
    History history;
    const auto young = from->Open("young", ReaderInto(history));
    EXPECT_TRUE(AppendAndWait(**young, Records(1211, 1211)).ok());
  }
  EXPECT_EQ(Migrate().code(), absl::StatusCode::kFailedPrecondition) << "it would take \"mine\"";
}

TEST_P(MigrateTest, ASourceThatIsNotThereOrEmptyIsRefusedAndNotMade) {
  const std::string nowhere = absl::StrCat(folder_.path().string(), "/nowhere");
  const auto quiet = [](const std::string&) {};
  EXPECT_FALSE(MigrateStore(absl::StrCat("sqlite://", nowhere, "/lazynorm.db"), to_, quiet).ok());
  EXPECT_FALSE(std::filesystem::exists(nowhere));
  EXPECT_FALSE(MigrateStore("memory:", to_, quiet).ok());
  EXPECT_FALSE(MigrateStore(from_, "memory:", quiet).ok());
  EXPECT_FALSE(Migrate().ok()) << "no models";
}

TEST_P(MigrateTest, BothStoresMustBeFree) {
  Fill(from_);
  for (const std::string& uri : {from_, to_}) {
    const auto user = MustOpen(uri);
    EXPECT_EQ(Migrate().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(MigrateStore(from_, from_, [](const std::string&) {}).code(),
            absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, MigrateTest,
    testing::Values(std::pair("sqlite", "postgres"), std::pair("postgres", "sqlite"),
                    std::pair("postgres", "postgres"), std::pair("sqlite", "sqlite")),
    [](const auto& info) { return absl::StrCat(info.param.first, "_to_", info.param.second); });

}  // namespace
}  // namespace lazynorm
