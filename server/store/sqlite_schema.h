#ifndef LAZYNORM_SERVER_STORE_SQLITE_SCHEMA_H_
#define LAZYNORM_SERVER_STORE_SQLITE_SCHEMA_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/store/sqlite.h"
#include "server/store/store.h"

namespace lazynorm {

// "lzyn", in the header of each of our databases.
inline constexpr int64_t kApplicationId = 0x6c7a796e;

// What takes a database from format version i to i + 1 is at place i; version 0 is an empty file.
const std::vector<std::string>& Migrations();

// Makes of an empty or older database one of this format, a transaction a step. StoreRefused for a
// newer one, for what is not ours, and for tables that are not as they were made.
absl::Status Migrate(Database& db, const std::vector<std::string>& migrations);

// Sets the pragmas of the one writing connection and reads each back. Before Migrate.
absl::Status Configure(Database& db, Durability durability);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_SQLITE_SCHEMA_H_
