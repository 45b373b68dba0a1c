#include "server/store/disk_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/broken.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// SQLite's files take no more at once than its largest page.
constexpr int64_t kMostAtOnce = 64 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<DiskFile>> DiskFile::Open(const std::string& path) {
  sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  auto file = absl::WrapUnique(new DiskFile(path));
  file->name_ = sqlite3_create_filename(path.c_str(), "", "", 0, nullptr);
  file->file_buffer_ = std::make_unique<char[]>(static_cast<size_t>(vfs->szOsFile));
  auto* const opened = reinterpret_cast<sqlite3_file*>(file->file_buffer_.get());
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_WAL;
  errno = 0;
  const int code = vfs->xOpen(vfs, file->name_, opened, kFlags, nullptr);
  if (code != SQLITE_OK) return file->Error(code, "opening");
  file->file_ = opened;
  return file;
}

DiskFile::~DiskFile() {
  if (file_ != nullptr) file_->pMethods->xClose(file_);
  sqlite3_free_filename(name_);
}

absl::Status DiskFile::Error(int code, absl::string_view doing) const {
  const int system = errno;
  const std::string message =
      absl::StrCat(path_, ": ", doing, ": ", sqlite3_errstr(code), " (SQLite ", code, ")",
                   system == 0 ? "" : absl::StrCat(": ", strerror(system)));
  const bool no_space = system == ENOSPC || system == EDQUOT || system == EFBIG;
  const bool full = (code & 0xff) == SQLITE_FULL || (code == SQLITE_IOERR_WRITE && no_space);
  return full ? StoreFull(message) : StoreFailed(message);
}

absl::Status DiskFile::Write(int64_t offset, absl::string_view bytes) {
  errno = 0;
  while (!bytes.empty()) {
    const absl::string_view some = bytes.substr(0, kMostAtOnce);
    const int code =
        file_->pMethods->xWrite(file_, some.data(), static_cast<int>(some.size()), offset);
    if (code != SQLITE_OK) return Error(code, "writing");
    offset += static_cast<int64_t>(some.size());
    bytes.remove_prefix(some.size());
  }
  return absl::OkStatus();
}

absl::Status DiskFile::Sync() {
  if (kBroken == Broken::kNoSync || kBroken == Broken::kJournalNotSynced) return absl::OkStatus();
  errno = 0;
  const int code = file_->pMethods->xSync(file_, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code, "syncing");
}

absl::StatusOr<int64_t> DiskFile::Size() const {
  errno = 0;
  sqlite3_int64 size = 0;
  const int code = file_->pMethods->xFileSize(file_, &size);
  if (code != SQLITE_OK) return Error(code, "reading");
  return size;
}

absl::StatusOr<std::string> DiskFile::Read(int64_t offset, int64_t bytes) const {
  const absl::StatusOr<int64_t> size = Size();
  if (!size.ok()) return size.status();
  std::string read(static_cast<size_t>(std::clamp<int64_t>(*size - offset, 0, bytes)), '\0');
  const auto end = static_cast<int64_t>(read.size());
  errno = 0;
  for (int64_t at = 0; at < end; at += kMostAtOnce) {
    const auto some = static_cast<int>(std::min(kMostAtOnce, end - at));
    const int code = file_->pMethods->xRead(file_, read.data() + at, some, offset + at);
    if (code != SQLITE_OK) return Error(code, "reading");
  }
  return read;
}

}  // namespace lazynorm
