#include "server/store/payload_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/broken.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// What is taken at once of the file; a multiple of a disk's sector, so that no write touches what
// another one has written.
constexpr int64_t kUnit = 4096;

// SQLite's files take no more at once than its largest page.
constexpr int64_t kMostAtOnce = 64 << 10;

int64_t RoundUp(int64_t bytes) {
  return (bytes + kUnit - 1) / kUnit * kUnit;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PayloadFile>> PayloadFile::Open(const std::string& path) {
  sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  auto file = absl::WrapUnique(new PayloadFile(path));
  file->name_ = sqlite3_create_filename(path.c_str(), "", "", 0, nullptr);
  file->file_buffer_ = std::make_unique<char[]>(static_cast<size_t>(vfs->szOsFile));
  auto* const opened = reinterpret_cast<sqlite3_file*>(file->file_buffer_.get());
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_WAL;
  errno = 0;
  int code = vfs->xOpen(vfs, file->name_, opened, kFlags, nullptr);
  if (code != SQLITE_OK) return file->Error(code, "opening");
  file->file_ = opened;
  return file;
}

PayloadFile::~PayloadFile() {
  if (file_ != nullptr) file_->pMethods->xClose(file_);
  sqlite3_free_filename(name_);
}

absl::Status PayloadFile::Error(int code, absl::string_view doing) const {
  const int system = errno;
  const std::string message =
      absl::StrCat(path_, ": ", doing, ": ", sqlite3_errstr(code), " (SQLite ", code, ")",
                   system == 0 ? "" : absl::StrCat(": ", strerror(system)));
  const bool no_space = system == ENOSPC || system == EDQUOT || system == EFBIG;
  const bool full = (code & 0xff) == SQLITE_FULL || (code == SQLITE_IOERR_WRITE && no_space);
  return full ? StoreFull(message) : StoreFailed(message);
}

int64_t PayloadFile::Allocate(int64_t bytes) {
  MutexLock lock(&mutex_);
  for (auto room = free_.begin(); room != free_.end(); ++room) {
    const auto [from, to] = *room;
    if (to - from < bytes) continue;
    free_.erase(room);
    if (to - from > bytes) free_[from + bytes] = to;
    return from;
  }
  end_ += bytes;
  return end_ - bytes;
}

absl::StatusOr<Extent> PayloadFile::Write(absl::string_view payload) {
  const auto bytes = static_cast<int64_t>(payload.size());
  const Extent extent = {Allocate(RoundUp(bytes)), bytes};
  errno = 0;
  int code = SQLITE_OK;
  for (int64_t at = 0; code == SQLITE_OK && at < bytes; at += kMostAtOnce) {
    const auto some = static_cast<int>(std::min(kMostAtOnce, bytes - at));
    code = file_->pMethods->xWrite(file_, payload.data() + at, some, extent.offset + at);
  }
  if (code == SQLITE_OK) return extent;
  absl::Status failed = Error(code, "writing");
  Free(extent);
  return failed;
}

absl::Status PayloadFile::Sync() {
  if (kBroken == Broken::kNoSync || kBroken == Broken::kPayloadNotSynced) return absl::OkStatus();
  errno = 0;
  const int code = file_->pMethods->xSync(file_, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code, "syncing");
}

absl::StatusOr<std::string> PayloadFile::Read(const Extent& extent) const {
  errno = 0;
  sqlite3_int64 size = 0;
  int code = file_->pMethods->xFileSize(file_, &size);
  if (code != SQLITE_OK) return Error(code, "reading");
  if (extent.offset < 0 || extent.bytes < 0 || extent.offset > size - extent.bytes) return "";
  std::string bytes(static_cast<size_t>(extent.bytes), '\0');
  for (int64_t at = 0; code == SQLITE_OK && at < extent.bytes; at += kMostAtOnce) {
    const auto some = static_cast<int>(std::min(kMostAtOnce, extent.bytes - at));
    code = file_->pMethods->xRead(file_, bytes.data() + at, some, extent.offset + at);
  }
  if (code != SQLITE_OK) return Error(code, "reading");
  return bytes;
}

bool PayloadFile::Take(const Extent& extent) {
  if (extent.offset < 0 || extent.bytes <= 0 || extent.offset % kUnit != 0) return false;
  const int64_t from = extent.offset, to = from + RoundUp(extent.bytes);
  MutexLock lock(&mutex_);
  if (from >= end_) {
    if (from > end_) free_[end_] = from;
    end_ = to;
    return true;
  }
  auto room = free_.upper_bound(from);
  if (room == free_.begin()) return false;
  --room;
  const auto [begin, end] = *room;
  if (to > end) return false;
  free_.erase(room);
  if (begin < from) free_[begin] = from;
  if (to < end) free_[to] = end;
  return true;
}

void PayloadFile::Free(const Extent& extent) {
  MutexLock lock(&mutex_);
  if (holds_ > 0) {
    freed_.push_back(extent);
  } else {
    Release(extent.offset, extent.offset + RoundUp(extent.bytes));
  }
}

void PayloadFile::Release(int64_t begin, int64_t end) {
  auto next = free_.lower_bound(begin);
  if (next != free_.end() && next->first == end) {
    end = next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin() && std::prev(next)->second == begin) {
    begin = std::prev(next)->first;
    free_.erase(std::prev(next));
  }
  if (end == end_) {
    end_ = begin;
  } else {
    free_[begin] = end;
  }
}

PayloadFile::Hold::Hold(PayloadFile& file) : file_(file) {
  MutexLock lock(&file_.mutex_);
  ++file_.holds_;
}

PayloadFile::Hold::~Hold() {
  MutexLock lock(&file_.mutex_);
  if (--file_.holds_ > 0) return;
  for (const Extent& extent : file_.freed_) {
    file_.Release(extent.offset, extent.offset + RoundUp(extent.bytes));
  }
  file_.freed_.clear();
}

}  // namespace lazynorm
