#ifndef LAZYNORM_SERVER_STORE_DISK_FILE_H_
#define LAZYNORM_SERVER_STORE_DISK_FILE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// A file that goes through SQLite's own layer of the operating system, so that a test that fails
// that one fails this one too. Errors: STORE_FULL, STORE_FAILED. Any thread reads; one writes.
class DiskFile {
 public:
  // Opens or creates `path`.
  static absl::StatusOr<std::unique_ptr<DiskFile>> Open(const std::string& path);
  ~DiskFile();
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  absl::Status Write(int64_t offset, absl::string_view bytes);
  // What was written is durable when it returns. After a failure only a new start knows.
  absl::Status Sync();
  // What lies beyond the end of the file is not there: fewer bytes come back.
  absl::StatusOr<std::string> Read(int64_t offset, int64_t bytes) const;
  absl::StatusOr<int64_t> Size() const;
  const std::string& path() const { return path_; }

 private:
  explicit DiskFile(std::string path) : path_(std::move(path)) {}
  absl::Status Error(int code, absl::string_view doing) const;

  const std::string path_;
  sqlite3_filename name_ = nullptr;      // path_ as SQLite's files want it
  std::unique_ptr<char[]> file_buffer_;  // of a sqlite3_file, whose size the VFS says
  sqlite3_file* file_ = nullptr;         // null: not open
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_DISK_FILE_H_
