#ifndef LAZYNORM_TESTS_SERVER_STORE_POSTGRES_FIXTURE_H_
#define LAZYNORM_TESTS_SERVER_STORE_POSTGRES_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "tests/server/store/testing.h"

namespace lazynorm {

// Stores in a database of each test's own.
class PostgresStoreTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options = {}) {
    return OpenStore(uri_, std::move(options));
  }
  std::unique_ptr<Store> MustOpen(StoreOptions options = {}) {
    auto store = Open(std::move(options));
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  // A store whose lease is short, so that it is quickly lost.
  std::unique_ptr<Store> MustOpenShort() {
    StoreOptions options;
    options.lease_timeout = absl::Milliseconds(600);
    options.hooks.on_fatal = [](const std::string& text) { ADD_FAILURE() << text; };
    return MustOpen(std::move(options));
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
  static bool Within(absl::Duration time, const std::function<bool()>& holds) {
    const absl::Time deadline = absl::Now() + time;
    while (!holds()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return true;
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

  const std::string uri_ = Postgres().NewDatabase();
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_STORE_POSTGRES_FIXTURE_H_
