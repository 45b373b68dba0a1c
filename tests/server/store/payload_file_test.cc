#include "server/store/payload_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

class PayloadFileTest : public testing::Test {
 protected:
  std::unique_ptr<PayloadFile> Open() {
    auto file = PayloadFile::Open(path_);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }
  static Extent Write(PayloadFile& file, size_t bytes, char letter) {
    const auto extent = file.Write(std::string(bytes, letter));
    EXPECT_TRUE(extent.ok()) << extent.status();
    return *extent;
  }
  static std::string Read(const PayloadFile& file, const Extent& extent) {
    const auto bytes = file.Read(extent);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return *bytes;
  }

  TempFolder folder_;
  const std::string path_ = folder_.path() / "payloads";
};

TEST_F(PayloadFileTest, WhatIsWrittenComesBackAfterAnotherOpening) {
  std::vector<Extent> extents;
  // SQLite's files take less at once than some of these, and more than others.
  const std::vector<size_t> sizes = {1, 4096, 65536, 65537, 131072, 3 << 20};
  {
    const auto file = Open();
    for (const size_t size : sizes) extents.push_back(Write(*file, size, 'a'));
    EXPECT_TRUE(file->Sync().ok());
  }
  const auto file = Open();
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(Read(*file, extents[i]) == std::string(sizes[i], 'a')) << sizes[i];
  }
}

TEST_F(PayloadFileTest, RoomThatIsFreeIsTakenBeforeTheFileGrows) {
  const auto file = Open();
  std::vector<Extent> extents;
  for (int i = 0; i < 8; ++i) extents.push_back(Write(*file, 10'000, static_cast<char>('a' + i)));
  const auto size = std::filesystem::file_size(path_);
  file->Free(extents[2]);
  file->Free(extents[4]);
  file->Free(extents[3]);
  const Extent joined = Write(*file, 30'000, 'x');  // the room of all three
  EXPECT_EQ(joined.offset, extents[2].offset);
  EXPECT_EQ(std::filesystem::file_size(path_), size);
  EXPECT_EQ(Read(*file, extents[1]), std::string(10'000, 'b'));
  EXPECT_EQ(Read(*file, extents[5]), std::string(10'000, 'f'));
}

TEST_F(PayloadFileTest, WhatSomebodyHoldsIsNotWrittenOver) {
  const auto file = Open();
  const Extent old = Write(*file, 10'000, 'o');
  {
    const PayloadFile::Hold hold(*file);
    file->Free(old);
    EXPECT_NE(Write(*file, 10'000, 'n').offset, old.offset);
    EXPECT_EQ(Read(*file, old), std::string(10'000, 'o'));
  }
  EXPECT_EQ(Write(*file, 10'000, 'n').offset, old.offset);
}

TEST_F(PayloadFileTest, NoByteIsTakenTwice) {
  Extent first, second;
  {
    const auto file = Open();
    first = Write(*file, 5000, 'a');
    second = Write(*file, 5000, 'b');
  }
  const auto file = Open();
  EXPECT_TRUE(file->Take(second));
  EXPECT_TRUE(file->Take(first));
  EXPECT_FALSE(file->Take(second));
  EXPECT_FALSE(file->Take({first.offset, 9000})) << "reaches into the second";
  EXPECT_FALSE(file->Take({1, 10})) << "where none begins";
  EXPECT_FALSE(file->Take({-4096, 10}));
  EXPECT_FALSE(file->Take({0, 0}));
  const Extent third = Write(*file, 5000, 'c');
  EXPECT_GE(third.offset, second.offset + 8192);
}

TEST_F(PayloadFileTest, WhatLiesBehindTheEndReadsAsNothing) {
  const auto file = Open();
  Write(*file, 5000, 'a');
  EXPECT_EQ(Read(*file, {1 << 20, 10}), "");
  EXPECT_EQ(Read(*file, {0, 1 << 20}), "");
  EXPECT_EQ(Read(*file, {-1, 10}), "");
}

}  // namespace
}  // namespace lazynorm
