#ifndef LAZYNORM_SERVER_BASE_PERIODIC_H_
#define LAZYNORM_SERVER_BASE_PERIODIC_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"

namespace lazynorm {

// Does something again and again on a thread of its own, from its construction to its destruction,
// which waits for what is being done. Thread-safe.
class Periodic {
 public:
  // `fn` runs first after `interval`, and then as long after each end of it.
  Periodic(absl::Duration interval, std::function<void()> fn);
  ~Periodic();
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  // False once this is being destroyed, else after the interval.
  bool Wait();

  const absl::Duration interval_;
  const std::function<void()> fn_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_BASE_PERIODIC_H_
