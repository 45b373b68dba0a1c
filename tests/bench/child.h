#ifndef LAZYNORM_TESTS_BENCH_CHILD_H_
#define LAZYNORM_TESTS_BENCH_CHILD_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lazynorm {

// A server that runs as a process of its own, so that its CPU time is its own. Stopped with the
// object. Thread-compatible.
class Child {
 public:
  // Runs `command` and waits until it has said "ports=N" on stderr. UNAVAILABLE if it ends first.
  static absl::StatusOr<std::unique_ptr<Child>> Start(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // On the loopback, as "127.0.0.1:N".
  const std::string& address() const { return address_; }
  // User and system time of all its threads so far.
  absl::Duration CpuTime() const;
  // Resident memory now, in bytes.
  int64_t ResidentBytes() const;

 private:
  Child(pid_t pid, int log) : pid_(pid), log_(log) {}
  absl::Status WaitForPort();

  const pid_t pid_;
  const int log_;
  std::string address_;
  std::thread reader_;  // of the log: a server whose log nobody reads stops when the pipe is full
};

// User and system time of this process so far.
absl::Duration OwnCpuTime();

// Time that all CPUs of the machine together have spent working so far.
absl::Duration MachineCpuTime();

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_CHILD_H_
