#ifndef LAZYNORM_SERVER_MIGRATION_H_
#define LAZYNORM_SERVER_MIGRATION_H_

#include "server/options.h"

namespace lazynorm {

// Copies the models of options.migrate_from into the store, saying so on standard output. Returns
// the program's exit code.
int RunMigration(const Options& options);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_MIGRATION_H_
