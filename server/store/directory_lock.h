#ifndef LAZYNORM_SERVER_STORE_DIRECTORY_LOCK_H_
#define LAZYNORM_SERVER_STORE_DIRECTORY_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lazynorm {

// That this process, and no other, owns a data directory: an flock on a file in it, held for life,
// with the owner's pid and host inside. The kernel lets go of it when the owner dies, however it
// dies; what is written in the file decides nothing. Immutable.
class DirectoryLock {
 public:
  // FAILED_PRECONDITION (STORE_FAILED), naming the owner, if another one has it. Never waits.
  static absl::StatusOr<std::unique_ptr<DirectoryLock>> Take(const std::string& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  const int fd_;
};

// Makes the names in a folder durable. STORE_FAILED.
absl::Status SyncFolder(const std::string& folder);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_DIRECTORY_LOCK_H_
