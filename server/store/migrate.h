#ifndef LAZYNORM_SERVER_STORE_MIGRATE_H_
#define LAZYNORM_SERVER_STORE_MIGRATE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// Copies all models of one store into another, with what is kept of their history: records,
// snapshots, checkpoints (which are given new ids, in their order). Steps and chains stay the same.
// Nobody else may use either store meanwhile (FAILED_PRECONDITION).
//
// May be repeated: a model that is there already as it is here is left alone, the beginning of one
// is replaced. MODEL_EXISTS for another one of the same name. What is damaged is told of and left
// out; it makes this DATA_LOSS, once all others are copied. `progress` hears a line a model.
absl::Status MigrateStore(absl::string_view from_uri, absl::string_view to_uri,
                          const std::function<void(const std::string&)>& progress);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_MIGRATE_H_
