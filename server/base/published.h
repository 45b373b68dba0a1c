#ifndef LAZYNORM_SERVER_BASE_PUBLISHED_H_
#define LAZYNORM_SERVER_BASE_PUBLISHED_H_

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "server/base/mutex.h"

namespace lazynorm {

// A whole immutable value that is replaced, never changed in place: a reader keeps what it got for
// as long as it likes. Thread-safe; a read copies one pointer under a lock.
template <typename T>
class Published {
 public:
  Published() = default;
  explicit Published(std::shared_ptr<const T> value) : value_(std::move(value)) {}

  // The latest value; null if none has been set.
  std::shared_ptr<const T> Get() const {
    MutexLock lock(&mutex_);
    return value_;
  }

  // The value before is let go of outside the lock: its destructor may be slow.
  void Set(std::shared_ptr<const T> value) {
    MutexLock lock(&mutex_);
    value_.swap(value);
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_BASE_PUBLISHED_H_
