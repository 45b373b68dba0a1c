#ifndef LAZYNORM_TESTS_BENCH_STORE_APPEND_LOG_H_
#define LAZYNORM_TESTS_BENCH_STORE_APPEND_LOG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace lazynorm {

// Something that makes records durable for callers on many threads.
class AppendLog {
 public:
  virtual ~AppendLog() = default;
  // Returns once `record` is durable. `caller` counts from 0; each is one thread.
  virtual void Append(int caller, const std::string& record) = 0;
};

// The least that durability can cost: one preallocated file that is overwritten in place; all that
// waits is one write and one fdatasync.
absl::StatusOr<std::unique_ptr<AppendLog>> OpenPlainFile(const std::string& folder);

// The server's store, a model's journal for each caller.
class StoreLog : public AppendLog {
 public:
  // `uri` as for OpenStore; empty: SQLite in `folder`. Its models go with this.
  static absl::StatusOr<std::unique_ptr<StoreLog>> Open(const std::string& uri,
                                                        const std::string& folder, int callers,
                                                        int checkpoint_pages);
  ~StoreLog() override;

  void Append(int caller, const std::string& record) override;
  // Snapshots of all models, so that what was appended goes and its room is used again, as in a
  // server that has run for a while. Returns when it is gone; nobody may append meanwhile.
  void Trim();
  // `done` comes, on a thread of the store, when the snapshot is durable.
  void WriteSnapshot(int caller, std::string bytes, std::function<void()> done);

 private:
  StoreLog() = default;

  std::unique_ptr<Store> store_;
  std::vector<std::string> models_;
  std::vector<std::unique_ptr<Journal>> journals_;
  std::vector<int64_t> steps_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_STORE_APPEND_LOG_H_
