#include "server/migration.h"

#include <cstdio>
#include <string>

#include "server/store/migrate.h"

namespace lazynorm {

int RunMigration(const Options& options) {
  const absl::Status moved =
      MigrateStore(options.migrate_from, StoreUri(options), [](const std::string& line) {
        printf("%s\n", line.c_str());
        fflush(stdout);
      });
  if (moved.ok()) return 0;
  fprintf(stderr, "lazynormd: %s\n", std::string(moved.message()).c_str());
  return 1;
}

}  // namespace lazynorm
