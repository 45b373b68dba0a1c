#ifndef LAZYNORM_TESTS_BENCH_STORE_STORE_BENCH_H_
#define LAZYNORM_TESTS_BENCH_STORE_STORE_BENCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/report.h"

namespace lazynorm {

struct StoreBenchOptions {
  int rounds = 5;
  absl::Duration slice = absl::Milliseconds(700);
  std::string folder;        // on the disk to be measured
  int checkpoint_pages = 0;  // of the store; 0 for its default
  std::string store;         // a URI, for `append` and `snapshot`; empty: SQLite in `folder`
  std::string server;        // a lazynormd
};

// A folder that goes with this.
class BenchFolder {
 public:
  explicit BenchFolder(const std::string& where);
  ~BenchFolder();
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Appends by 1, 8 and 64 callers, of 1.3 and 64 KiB, to the store beside the plain file.
absl::StatusOr<std::vector<Row>> MeasureAppends(const StoreBenchOptions& options);

// How long appends wait while a snapshot of 50 MiB is written.
absl::StatusOr<std::vector<Row>> MeasureSnapshot(const StoreBenchOptions& options);

// Train of 32 rows of 10 through a server, durable and not, beside the plain file.
absl::StatusOr<std::vector<Row>> MeasureTrain(const StoreBenchOptions& options);

// From exec to ready: with 1,000 models, and with one whose journal has 100,000 steps.
absl::StatusOr<std::vector<Row>> MeasureRestart(const StoreBenchOptions& options);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STORE_STORE_BENCH_H_
