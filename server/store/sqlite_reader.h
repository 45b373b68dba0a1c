#ifndef LAZYNORM_SERVER_STORE_SQLITE_READER_H_
#define LAZYNORM_SERVER_STORE_SQLITE_READER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/mutex.h"
#include "server/store/catalog.h"
#include "server/store/sqlite.h"
#include "server/store/store.h"

namespace lazynorm {

// Read-only connections to one database, kept for the next who needs one. Thread-safe.
class ReaderPool {
 public:
  explicit ReaderPool(std::string path) : path_(std::move(path)) {}
  // Runs `read` on a connection that nobody else has.
  absl::Status Run(const std::function<absl::Status(Database&)>& read);

 private:
  const std::string path_;
  Mutex mutex_;
  std::vector<std::unique_ptr<Database>> idle_ ABSL_GUARDED_BY(mutex_);
};

// What is to be read of a model: its entry as it was at one moment, nothing of which goes away.
struct ReadRequest {
  const JournalFile* journal = nullptr;
  ModelEntry model;
  size_t snapshots_kept = 2;
  std::optional<int64_t> last_step;      // nothing: to the end
  std::optional<Position> acknowledged;  // how far the model is known to have come
};

// Reads a model back, as Store::Open and Store::ReadAt promise. Each read transaction is short: a
// long one would keep the write-ahead log growing. Returns where the model stands at the end.
absl::StatusOr<Position> ReadModel(Database& db, const ReadRequest& request, const Reader& reader);

// The same for Store::ReadHistory.
absl::StatusOr<Position> ReadModelHistory(Database& db, const ReadRequest& request,
                                          const Reader& reader);

// The bytes behind a manifest. MODEL_DAMAGED if their digest is another.
absl::StatusOr<std::string> ReadSnapshot(Database& db, const Manifest& manifest);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_SQLITE_READER_H_
