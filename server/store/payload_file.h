#ifndef LAZYNORM_SERVER_STORE_PAYLOAD_FILE_H_
#define LAZYNORM_SERVER_STORE_PAYLOAD_FILE_H_

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/mutex.h"

namespace lazynorm {

// Where bytes are in a PayloadFile.
struct Extent {
  int64_t offset = 0;
  int64_t bytes = 0;
};

// A file of large payloads beside the database, each written once, in place: SQLite writes all it
// is given twice, to its log and to its pages. It knows no more than which of its bytes are taken,
// and is told so by who keeps the extents; it checks nothing. It goes through SQLite's own layer of
// the operating system, so that a test that fails that one fails this one too.
//
// Errors: STORE_FULL, STORE_FAILED. One thread writes, syncs, takes and frees; any thread reads
// what is neither freed nor being written, and holds.
class PayloadFile {
 public:
  // Opens or creates `path`.
  static absl::StatusOr<std::unique_ptr<PayloadFile>> Open(const std::string& path);
  ~PayloadFile();
  PayloadFile(const PayloadFile&) = delete;
  PayloadFile& operator=(const PayloadFile&) = delete;

  // Takes room for `payload` and writes it there. Durable with the next Sync.
  absl::StatusOr<Extent> Write(absl::string_view payload);
  absl::Status Sync();
  // What lies beyond the end of the file reads as nothing: fewer bytes come back.
  absl::StatusOr<std::string> Read(const Extent& extent) const;

  // Says that an extent is in use, when a database is opened. False, and not taken, if it is no
  // extent of this file or another one has some of it.
  bool Take(const Extent& extent);
  // Its room may be used again, at once or when nobody holds.
  void Free(const Extent& extent);

  // While this lives, what is freed is not written over.
  class Hold {
   public:
    explicit Hold(PayloadFile& file);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    PayloadFile& file_;
  };

 private:
  explicit PayloadFile(std::string path) : path_(std::move(path)) {}
  absl::Status Error(int code, absl::string_view doing) const;
  int64_t Allocate(int64_t bytes);
  void Release(int64_t begin, int64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  sqlite3_filename name_ = nullptr;      // path_ as SQLite's files want it
  std::unique_ptr<char[]> file_buffer_;  // of a sqlite3_file, whose size the VFS says
  sqlite3_file* file_ = nullptr;         // null: not open

  Mutex mutex_;
  std::map<int64_t, int64_t> free_ ABSL_GUARDED_BY(mutex_);  // from, to; never adjacent
  int64_t end_ ABSL_GUARDED_BY(mutex_) = 0;  // all behind is free, and may not be there
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Extent> freed_ ABSL_GUARDED_BY(mutex_);  // while somebody holds
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_PAYLOAD_FILE_H_
