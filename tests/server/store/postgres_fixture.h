#ifndef LAZYNORM_TESTS_SERVER_STORE_POSTGRES_FIXTURE_H_
#define LAZYNORM_TESTS_SERVER_STORE_POSTGRES_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "tests/server/store/testing.h"

namespace lazynorm {

// Stores in a database of each test's own.
class PostgresStoreTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options = {}) {
    if (options.lease_timeout == StoreOptions().lease_timeout) options.lease_timeout = kLongLease;
    if (!options.hooks.on_fatal) {
      options.hooks.on_fatal = [](const std::string& text) { ADD_FAILURE() << text; };
    }
    return OpenStore(uri_, std::move(options));
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
  std::string Sql(const std::string& sql) const {
    return PostgresServer::Query(uri_, "set search_path = lazynorm; " + sql);
  }
  int64_t Number(const std::string& sql) const {
    int64_t number = -1;
    EXPECT_TRUE(absl::SimpleAtoi(Sql(sql), &number)) << sql;
    return number;
  }
  static Holding HoldingOf(Store& store, absl::string_view model) {
    const auto holdings = store.cluster()->Holdings();
    EXPECT_TRUE(holdings.ok()) << holdings.status();
    for (const Holding& holding : *holdings) {
      if (holding.model == model) return holding;
    }
    ADD_FAILURE() << "no holding of " << model;
    return {};
  }

  const std::string uri_ = NewDatabase();
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_STORE_POSTGRES_FIXTURE_H_
