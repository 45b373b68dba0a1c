#ifndef LAZYNORM_SERVER_STORE_READ_BACK_H_
#define LAZYNORM_SERVER_STORE_READ_BACK_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/manifest.h"
#include "server/store/store.h"

namespace lazynorm {

// What reading a model back is in every database.

// The bytes behind a manifest; MODEL_DAMAGED if their digest is another.
using LoadSnapshot = std::function<absl::StatusOr<std::string>(const Manifest&)>;

// Gives `reader` the newest of `snapshots` (in order) at or before `last_seq` that is as it was
// written, and `warnings` with what is said of those that are not. Returns where the model then
// stands: at its beginning, if there is none.
absl::StatusOr<Position> ReadNewestSnapshot(absl::string_view model,
                                            const std::vector<Manifest>& snapshots,
                                            int64_t last_seq, std::vector<std::string> warnings,
                                            const LoadSnapshot& load, const Reader& reader);

// Gives `reader` the records behind a position. Returns where the model then stands.
using WalkRecords = std::function<absl::StatusOr<Position>(const Position&, const Reader&)>;

// As Store::ReadHistory. `whole`: the journal begins with the creation record.
absl::StatusOr<Position> ReadWholeHistory(absl::string_view model,
                                          const std::vector<Manifest>& snapshots, bool whole,
                                          const LoadSnapshot& load, const WalkRecords& walk,
                                          const Reader& reader);

// `database`: what the operator calls it.
absl::Status SnapshotDamaged(absl::string_view database, const Manifest& manifest);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_READ_BACK_H_
