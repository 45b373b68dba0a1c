#ifndef LAZYNORM_TESTS_BENCH_TORCH_PEER_H_
#define LAZYNORM_TESTS_BENCH_TORCH_PEER_H_

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>

namespace lazynorm {

// lazynorm_torch, running as a process of its own with one thread and the BLAS that fits the
// machine. Ended with the object. Thread-compatible.
class TorchPeer {
 public:
  // Null if the program is not there or does not run: it is built where libtorch is installed.
  static std::unique_ptr<TorchPeer> Start(const std::string& program);
  ~TorchPeer();
  TorchPeer(const TorchPeer&) = delete;
  TorchPeer& operator=(const TorchPeer&) = delete;

  // The answer to a line of torch_main.cc; 0 if there is none.
  double Ask(const std::string& line);

 private:
  TorchPeer(pid_t pid, FILE* to, FILE* from) : pid_(pid), to_(to), from_(from) {}

  const pid_t pid_;
  FILE* const to_;
  FILE* const from_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_TORCH_PEER_H_
