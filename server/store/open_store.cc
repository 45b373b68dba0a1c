#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/store/memory_store.h"
#include "server/store/sqlite_store.h"
#include "server/store/store.h"

namespace lazynorm {

absl::StatusOr<std::unique_ptr<Store>> OpenStore(absl::string_view uri, StoreOptions options) {
  if (uri == "memory:") return std::make_unique<MemoryStore>(std::move(options));
  absl::string_view path = uri;
  if (absl::ConsumePrefix(&path, "sqlite://") && absl::StartsWith(path, "/") &&
      !absl::EndsWith(path, "/")) {
    return SqliteStore::Open(std::string(path), std::move(options));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("store: expected sqlite:///DIR/lazynorm.db with the folder's absolute path, or "
                   "memory:, got \"",
                   uri, "\""));
}

}  // namespace lazynorm
