#ifndef LAZYNORM_SERVER_STORE_POSTGRES_SCHEMA_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_SCHEMA_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/postgres.h"

namespace lazynorm {

// What takes the schema from format version i to i + 1 is at place i; version 0 is an empty one.
const std::vector<std::string>& PgMigrations();

// Makes the schema `lazynorm` of the database one of this format; several replicas may do so at
// once. StoreRefused for a newer one.
absl::Status Migrate(Pg& pg, const std::vector<std::string>& migrations);

// What Cluster::secret gives. StoreRefused if it is not as it was made.
absl::StatusOr<std::string> ReadSecret(Pg& pg);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_SCHEMA_H_
