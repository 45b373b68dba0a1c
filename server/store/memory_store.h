#ifndef LAZYNORM_SERVER_STORE_MEMORY_STORE_H_
#define LAZYNORM_SERVER_STORE_MEMORY_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"
#include "server/store/store.h"

namespace lazynorm {

// A Store that forgets everything when the process ends. Thread-safe.
class MemoryStore : public Store {
 public:
  explicit MemoryStore(StoreOptions options) : options_(std::move(options)) {}

  absl::StatusOr<std::vector<StoredModel>> Models() const override;
  absl::StatusOr<std::unique_ptr<Journal>> Create(absl::string_view model,
                                                  Record creation) override;
  absl::StatusOr<std::unique_ptr<Journal>> Open(absl::string_view model,
                                                const Reader& reader) override;
  absl::Status ReadAt(absl::string_view model, int64_t step, const Reader& reader) const override;
  absl::StatusOr<Position> ReadFrom(absl::string_view model, const Position& from,
                                    const Reader& reader) const override;
  absl::StatusOr<Position> ReadHistory(absl::string_view model,
                                       const Reader& reader) const override;
  absl::StatusOr<std::unique_ptr<Journal>> CreateAt(absl::string_view model,
                                                    Snapshot base) override;
  absl::Status Delete(absl::string_view model) override;
  absl::StatusOr<std::vector<CheckpointInfo>> Checkpoints(absl::string_view model) const override;
  absl::StatusOr<Snapshot> ReadCheckpoint(absl::string_view model,
                                          absl::string_view id) const override;
  absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view id) override;
  absl::Status Backup(const std::string& directory) const override;

 private:
  friend class MemoryJournal;
  struct Model {
    absl::Status broken;   // what the latest journal answers
    int64_t journals = 0;  // the number of the latest
    std::vector<std::pair<Position, Record>> records;
    std::vector<Snapshot> snapshots;
    std::vector<std::pair<CheckpointInfo, Snapshot>> checkpoints;
  };

  absl::StatusOr<Model> CopyOf(absl::string_view model) const;
  absl::StatusOr<std::shared_ptr<Model>> Find(absl::string_view model) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The committer thread's part of Journal::Append.
  absl::Status Keep(Model& model, int64_t journal,
                    std::vector<std::pair<Position, Record>> records);
  absl::Status Keep(Model& model, int64_t journal, Snapshot snapshot);
  absl::StatusOr<CheckpointInfo> Keep(Model& model, int64_t journal, CheckpointInfo info,
                                      Snapshot snapshot);
  // What Store::ReadFrom says.
  static absl::StatusOr<Position> Read(absl::string_view name, const Model& model,
                                       const Position& from, const Reader& reader);
  // OK if that journal may still write.
  static absl::Status Check(const Model& model, int64_t journal);

  const StoreOptions options_;
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<Model>> models_ ABSL_GUARDED_BY(mutex_);
  int64_t last_seq_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  Executor committer_{1};  // last: its thread uses all of the above
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_MEMORY_STORE_H_
