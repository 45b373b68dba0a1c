// A connection to PostgreSQL.
#include "server/store/postgres.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

std::string IdleTimeout(Pg& pg) {
  const auto rows = pg.Run("select current_setting('idle_in_transaction_session_timeout')");
  EXPECT_TRUE(rows.ok()) << rows.status();
  return std::string(rows->Bytes(0, 0));
}

// Somebody who stops in the middle holds locks. Whoever sends 100 MB over a slow network, where
// 10 MB/s come through, has not stopped: the server cannot tell before a statement is whole.
TEST(PostgresTest, ATransactionMayTakeAsLongAsItsBytesNeedToArrive) {
  const auto pg = Pg::Connect({.uri = NewDatabase()});
  ASSERT_TRUE(pg.ok()) << pg.status();
  std::string few, many;
  const auto told = [&](std::string& timeout) {
    return [&timeout, &pg] {
      timeout = IdleTimeout(**pg);
      return absl::OkStatus();
    };
  };
  EXPECT_TRUE((*pg)->Transaction(told(many), 100 << 20).ok());
  EXPECT_TRUE((*pg)->Transaction(told(few)).ok());
  EXPECT_EQ(many, "40s");
  EXPECT_EQ(few, "5s");
}

}  // namespace
}  // namespace lazynorm
