#ifndef LAZYNORM_TESTS_SERVER_STORE_SQLITE_FIXTURE_H_
#define LAZYNORM_TESTS_SERVER_STORE_SQLITE_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/store.h"
#include "tests/server/store/testing.h"

namespace lazynorm {

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// A store in a folder of its own.
class SqliteStoreTest : public testing::Test {
 protected:
  std::string Uri(const std::filesystem::path& folder) const {
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
  const std::filesystem::path data_ = folder_.path() / "data";
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_STORE_SQLITE_FIXTURE_H_
