#ifndef LAZYNORM_SERVER_STORE_MARKS_H_
#define LAZYNORM_SERVER_STORE_MARKS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/mutex.h"
#include "server/store/record.h"

namespace lazynorm {

// How far each model had come when it was last acknowledged, in a file beside the database:
// SQLite's write-ahead log silently ends at its first damaged byte, and only somebody who knows the
// end can notice. Written after each commit, before the acknowledgement, and not synced: after a
// power cut a mark may be too old, which is harmless, but never ahead of the disk. The file is
// mapped: a mark costs no system call. Thread-safe.
class Marks {
 public:
  struct Mark {
    std::string model;
    Position end;
  };

  // Opens or creates `path`. `warnings` hears of each mark that cannot be read.
  static absl::StatusOr<std::unique_ptr<Marks>> Open(const std::string& path,
                                                     std::vector<std::string>* warnings);
  ~Marks();
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

  // By model_id, as they were at Open.
  const std::map<int64_t, Mark>& found() const { return found_; }

  // A mark that cannot be written (no space) stays as it was.
  void Set(int64_t model_id, absl::string_view model, const Position& end);
  // Durable when it returns.
  absl::Status Remove(int64_t model_id);

 private:
  struct Slot;

  explicit Marks(int fd) : fd_(fd) {}
  void Load(const std::string& path, std::vector<std::string>* warnings);
  // Maps room for at least `slots`; false if there is no space for them.
  bool Map(int64_t slots) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Null if there is no space for it.
  Slot* SlotOf(int64_t model_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int fd_;
  std::map<int64_t, Mark> found_;
  Mutex mutex_;
  std::map<int64_t, int64_t> slots_ ABSL_GUARDED_BY(mutex_);  // by model_id
  std::vector<int64_t> free_ ABSL_GUARDED_BY(mutex_);
  Slot* mapped_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t size_ ABSL_GUARDED_BY(mutex_) = 0;  // slots
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_MARKS_H_
