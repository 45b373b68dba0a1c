#include "server/store/journal_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kModel = 7;

class JournalFileTest : public testing::Test {
 protected:
  std::unique_ptr<JournalFile> Open(int64_t store_id = 1) {
    auto file = JournalFile::Open(path_, {store_id, 1024});
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }
  static std::vector<FoundRecord> Find(JournalFile& file,
                                       const std::map<int64_t, int64_t>& torn = {}) {
    auto found = file.Find(torn);
    EXPECT_TRUE(found.ok()) << found.status();
    return *std::move(found);
  }
  // A frame with these records of the model, one behind the other.
  std::vector<Place> Append(JournalFile& file, int records, size_t size = 100) {
    Frame frame;
    for (int i = 0; i < records; ++i) {
      ++seq_;
      rows_[seq_] = ChainRow(kModel, end_, seq_, RecordOf(static_cast<int>(seq_), size));
      end_ = rows_[seq_].at;
      frame.Add(kModel, rows_[seq_]);
    }
    const auto places = file.Append(frame);
    EXPECT_TRUE(places.ok()) << places.status();
    return *places;
  }
  void ExpectAsWritten(const JournalFile& file, int64_t seq, const Place& place) {
    const auto row = file.Read(place, seq);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_TRUE(row->at == rows_[seq].at);
    EXPECT_EQ(row->checksum, rows_[seq].checksum);
    EXPECT_TRUE(row->record.payload == rows_[seq].record.payload) << seq;
    EXPECT_EQ(row->record.request_id, rows_[seq].record.request_id);
    EXPECT_EQ(row->record.kind, rows_[seq].record.kind);
  }
  static std::string Seqs(const std::vector<FoundRecord>& found) {
    std::string text;
    for (const FoundRecord& record : found) {
      absl::StrAppend(&text, text.empty() ? "" : " ", record.seq, record.whole ? "" : "?");
    }
    return text;
  }
  void Change(int64_t offset) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const char was = static_cast<char>(file.get());
    file.seekp(offset);
    file.put(static_cast<char>(was ^ 4));
  }

  TempFolder folder_;
  const std::string path_ = folder_.path() / "journal";
  int64_t seq_ = 0;
  Position end_ = {0, 0, 11};
  std::map<int64_t, JournalRow> rows_;
};

TEST_F(JournalFileTest, WhatIsWrittenIsFoundAfterAnotherOpening) {
  {
    const auto file = Open();
    EXPECT_TRUE(Find(*file).empty());
    // Smaller and larger than the first segments, and than what SQLite's files take at once.
    for (const size_t size : {1, 0, 900, 3000, 15'000}) Append(*file, 1, size);
    Append(*file, 3);
    ASSERT_TRUE(file->Fits(65536));
    EXPECT_FALSE(file->Fits(65537));
    Append(*file, 4, 16'000);
  }
  const auto file = Open();
  const auto found = Find(*file);
  EXPECT_EQ(Seqs(found), "1 2 3 4 5 6 7 8 9 10 11 12");
  for (const FoundRecord& record : found) {
    EXPECT_EQ(record.model_id, kModel);
    EXPECT_EQ(record.step, rows_[record.seq].record.step);
    ExpectAsWritten(*file, record.seq, record.place);
  }
  Append(*file, 1);  // goes on behind the last
  EXPECT_EQ(Find(*Open()).size(), 13u);
}

TEST_F(JournalFileTest, ASegmentWhoseRecordsHaveGoneIsFilledAgain) {
  const auto file = Open();
  std::vector<Place> before = Append(*file, 4);
  for (int i = 0; i < 200; ++i) {
    const std::vector<Place> places = Append(*file, 4);
    for (const Place& place : before) file->Free(place);
    before = places;
  }
  EXPECT_LE(fs::file_size(path_), 3 * 1024);
  for (int i = 0; i < 4; ++i) ExpectAsWritten(*file, seq_ - 3 + i, before[i]);
  // What went is found as far as nothing has come over it; the newest is.
  const auto found = Find(*Open());
  EXPECT_EQ(found.back().seq, seq_);
  EXPECT_LT(found.size(), 20u);
}

// Else the commits of that moment wait for the whole segment.
TEST_F(JournalFileTest, TheFileGrowsInPiecesThatAreSmallBesideALargeSegment) {
  constexpr uintmax_t kPiece = 4 * 1024, kSmallSegments = 4 * (1 + 4 + 16) * 1024;
  auto file = Open();
  Append(*file, 1, 1000);  // the smallest segments cannot take it
  uintmax_t size = fs::file_size(path_);
  while (size < kSmallSegments + 5 * kPiece) {
    Append(*file, 1, 1000);
    const uintmax_t now = fs::file_size(path_);
    EXPECT_LE(now, size + kPiece);
    size = now;
  }
  const auto written = static_cast<size_t>(seq_);
  file = Open();
  EXPECT_EQ(Find(*file).size(), written);
  Append(*file, 1, 20'001);  // more than a piece
  Append(*file, 1, 1000);
  EXPECT_LE(fs::file_size(path_), size + 20'001 + 2 * kPiece);
  EXPECT_EQ(Find(*Open()).size(), written + 2);
}

TEST_F(JournalFileTest, NothingIsWrittenOverWhileSomebodyHolds) {
  const auto file = Open();
  const std::vector<Place> held = Append(*file, 5);
  {
    const JournalFile::Hold hold(*file);
    for (const Place& place : held) file->Free(place);
    for (int i = 0; i < 10; ++i) {
      for (const Place& place : Append(*file, 5)) file->Free(place);
    }
    for (int i = 0; i < 5; ++i) ExpectAsWritten(*file, i + 1, held[i]);
  }
  const auto size = fs::file_size(path_);
  for (int i = 0; i < 40; ++i) {
    for (const Place& place : Append(*file, 5)) file->Free(place);
  }
  EXPECT_EQ(fs::file_size(path_), size);
}

TEST_F(JournalFileTest, WhatIsTakenIsNotWrittenOver) {
  { Append(*Open(), 5); }
  const auto file = Open();
  const auto found = Find(*file);
  ASSERT_EQ(found.size(), 5u);
  file->Take(found[2].place);
  for (int i = 0; i < 50; ++i) {
    for (const Place& place : Append(*file, 5)) file->Free(place);
  }
  ExpectAsWritten(*file, 3, found[2].place);
}

TEST_F(JournalFileTest, OfTheNewestFrameWhatIsBehindTheDamageDoesNotCount) {
  std::vector<Place> places;
  {
    const auto file = Open();
    Append(*file, 2);
    places = Append(*file, 4);
  }
  Change(places[2].offset + 50);
  std::pair<int64_t, int64_t> torn;
  {
    const auto file = Open();
    EXPECT_EQ(Seqs(Find(*file)), "1 2 3 4");
    torn = file->torn();
    EXPECT_EQ(torn, std::make_pair(int64_t{2}, int64_t{2}));
    Append(*file, 1);
  }
  const auto file = Open();
  EXPECT_EQ(Seqs(Find(*file, {torn})), "1 2 3 4 7");
  EXPECT_EQ(file->torn().first, 0);
}

TEST_F(JournalFileTest, AnOlderFrameIsSaidToBeDamagedRecordByRecord) {
  std::vector<Place> places;
  {
    const auto file = Open();
    places = Append(*file, 3);
    Append(*file, 1);
  }
  Change(places[1].offset + 50);
  const auto file = Open();
  EXPECT_EQ(Seqs(Find(*file)), "1 2? 3 4");
  EXPECT_EQ(file->torn().first, 0);
}

TEST_F(JournalFileTest, ADamagedHeaderHidesItsOwnFrameAlone) {
  int64_t second = 0;
  {
    const auto file = Open();
    Append(*file, 1);
    second = Append(*file, 2)[0].offset;
    Append(*file, 2);
  }
  Change(second - 20);  // in the header's entries
  EXPECT_EQ(Seqs(Find(*Open())), "1 4 5");
}

TEST_F(JournalFileTest, FramesOfAnotherStoreAreNotSeen) {
  { Append(*Open(1), 3); }
  EXPECT_TRUE(Find(*Open(2)).empty());
  EXPECT_EQ(Find(*Open(1)).size(), 3u);
}

TEST_F(JournalFileTest, TheSparsestSegmentsAreShownOnceEach) {
  const auto file = Open();
  std::vector<std::vector<Place>> frames;
  for (int i = 0; i < 4; ++i) frames.push_back(Append(*file, 8, 7000));  // one a segment
  EXPECT_FALSE(file->IsSparse());
  for (size_t i = 0; i < frames.size(); ++i) {
    for (size_t k = i == 1 ? 2 : 1; k < 8; ++k) file->Free(frames[i][k]);
  }
  EXPECT_TRUE(file->IsSparse());
  std::vector<int64_t> shown;
  while (true) {
    const auto found = file->FindSparsest();
    ASSERT_TRUE(found.ok()) << found.status();
    if (found->empty()) break;
    EXPECT_EQ(found->size(), 8u);
    shown.push_back(found->front().seq);
  }
  EXPECT_EQ(shown.size(), frames.size() - 1);  // the last is being filled
  EXPECT_EQ(shown.back(), 9);                  // it has the most
}

// What goes when nobody holds any more is not to be won by moving what is beside it.
TEST_F(JournalFileTest, WhatIsHeldAloneMakesNothingSparse) {
  const auto file = Open();
  const JournalFile::Hold hold(*file);
  for (int i = 0; i < 8; ++i) {
    for (const Place& place : Append(*file, 8, 7000)) file->Free(place);
  }
  EXPECT_FALSE(file->IsSparse());
}

TEST_F(JournalFileTest, TheNumberOfAFrameThatWasCutOffIsNotGivenAgain) {
  { Append(*Open(), 2); }
  const std::map<int64_t, int64_t> torn = {{3, 1}};  // nothing is left of it
  {
    const auto file = Open();
    EXPECT_EQ(Seqs(Find(*file, torn)), "1 2");
    Append(*file, 2);
    Append(*file, 2);
  }
  EXPECT_EQ(Seqs(Find(*Open(), torn)), "1 2 3 4 5 6");
}

}  // namespace
}  // namespace lazynorm
