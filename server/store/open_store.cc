#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/store/memory_store.h"
#include "server/store/postgres_store.h"
#include "server/store/sqlite_store.h"
#include "server/store/store.h"

namespace lazynorm {

namespace {

// The file that a URI of SQLite names; empty for any other.
std::string SqlitePath(absl::string_view uri) {
  const bool sqlite = absl::ConsumePrefix(&uri, "sqlite://");
  return sqlite && absl::StartsWith(uri, "/") && !absl::EndsWith(uri, "/") ? std::string(uri) : "";
}

bool IsPostgres(absl::string_view uri) {
  return absl::StartsWith(uri, "postgresql://") || absl::StartsWith(uri, "postgres://");
}

}  // namespace

absl::StatusOr<Position> Store::ReadFrom(absl::string_view, const Position&, const Reader&) const {
  return absl::UnimplementedError("this store has one process, which follows nobody");
}

absl::Status RestoreBackup(absl::string_view uri, const std::string& directory) {
  const std::string path = SqlitePath(uri);
  if (!path.empty()) return SqliteStore::Restore(path, directory);
  return absl::InvalidArgumentError("a backup can only be restored into a SQLite store");
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(absl::string_view uri, StoreOptions options) {
  if (uri == "memory:") return std::make_unique<MemoryStore>(std::move(options));
  if (IsPostgres(uri)) return PostgresStore::Open(std::string(uri), std::move(options));
  const std::string path = SqlitePath(uri);
  if (!path.empty()) return SqliteStore::Open(path, std::move(options));
  // A mistyped URI may still have a password in it.
  const absl::string_view shown = absl::StrContains(uri, "@") ? uri.substr(0, uri.find(':')) : uri;
  return absl::InvalidArgumentError(
      absl::StrCat("store: expected sqlite:///DIR/lazynorm.db with the folder's absolute path, "
                   "postgresql://USER@HOST/DATABASE, or memory:, got \"",
                   shown, "\""));
}

}  // namespace lazynorm
