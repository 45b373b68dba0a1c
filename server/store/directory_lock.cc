#include "server/store/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

std::string Host() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "an unknown host";
}

std::string Owner(int fd) {
  char text[512];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  return size > 0 ? std::string(text, static_cast<size_t>(size)) : "another process";
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirectoryLock>> DirectoryLock::Take(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/lazynorm.lock");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return StoreRefused(absl::StrCat("cannot open ", path, ": ", strerror(errno)));
  auto lock = absl::WrapUnique(new DirectoryLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return StoreRefused(absl::StrCat("cannot lock ", path, ": ", strerror(errno)));
    }
    return StoreRefused(absl::StrCat("the data directory ", directory, " is in use by ", Owner(fd),
                                     "; only one process can own it"));
  }
  const std::string me = absl::StrCat("process ", getpid(), " on ", Host());
  // For people only: a disk too full for it must not keep the owner out.
  if (ftruncate(fd, 0) == 0 && pwrite(fd, me.data(), me.size(), 0) < 0) errno = 0;
  return lock;
}

DirectoryLock::~DirectoryLock() {
  close(fd_);
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (synced) return absl::OkStatus();
  return StoreFailed(absl::StrCat("syncing the folder ", folder, ": ", strerror(error)));
}

}  // namespace lazynorm
