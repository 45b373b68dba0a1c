#include "tests/bench/store/append_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/base/mutex.h"
#include "server/store/store.h"

namespace lazynorm {
namespace {

constexpr size_t kFileBytes = size_t{64} << 20;

class PlainFile : public AppendLog {
 public:
  explicit PlainFile(int fd) : fd_(fd), thread_([this] { Loop(); }) {}
  ~PlainFile() override {
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
    close(fd_);
  }

  void Append(int /*caller*/, const std::string& record) override {
    std::binary_semaphore durable(0);
    {
      MutexLock lock(&mutex_);
      waiting_.push_back({&record, &durable});
      changed_.NotifyOne();
    }
    durable.acquire();
  }

 private:
  struct Pending {
    const std::string* record;
    std::binary_semaphore* durable;
  };

  void Loop() {
    std::vector<Pending> group;
    std::string bytes;
    while (true) {
      {
        MutexLock lock(&mutex_);
        while (waiting_.empty() && !stopping_) changed_.Wait(&mutex_);
        if (waiting_.empty()) return;
        group.swap(waiting_);
      }
      bytes.clear();
      for (const Pending& pending : group) bytes += *pending.record;
      if (at_ + bytes.size() > kFileBytes) at_ = 0;
      if (pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at_)) < 0 ||
          fdatasync(fd_) != 0) {
        perror("the plain file");
        abort();
      }
      at_ += bytes.size();
      for (const Pending& pending : group) pending.durable->release();
      group.clear();
    }
  }

  const int fd_;
  size_t at_ = 0;
  Mutex mutex_;
  CondVar changed_;
  std::vector<Pending> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

void EndIfNot(const absl::Status& kept) {
  if (kept.ok()) return;
  fprintf(stderr, "the store: %s\n", std::string(kept.message()).c_str());
  abort();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AppendLog>> OpenPlainFile(const std::string& folder) {
  const std::string path = folder + "/plain";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const std::string zeros(kFileBytes, '\0');
  if (fd < 0 || pwrite(fd, zeros.data(), zeros.size(), 0) < 0 || fsync(fd) != 0) {
    return absl::UnavailableError(absl::StrCat(path, ": ", strerror(errno)));
  }
  return std::make_unique<PlainFile>(fd);
}

absl::StatusOr<std::unique_ptr<StoreLog>> StoreLog::Open(const std::string& uri,
                                                         const std::string& folder, int callers,
                                                         int checkpoint_pages) {
  std::unique_ptr<StoreLog> log(new StoreLog);
  StoreOptions options;
  if (checkpoint_pages > 0) options.checkpoint_pages = checkpoint_pages;
  ASSIGN_OR_RETURN(
      log->store_,
      OpenStore(uri.empty() ? absl::StrCat("sqlite://", folder, "/store/lazynorm.db") : uri,
                std::move(options)));
  for (int i = 0; i < callers; ++i) {
    const std::string model = absl::StrCat("bench-", getpid(), "-", i);
    ASSIGN_OR_RETURN(log->journals_.emplace_back(),
                     log->store_->Create(model, {.step = 0, .kind = 1}));
    log->models_.push_back(model);
  }
  log->steps_.resize(static_cast<size_t>(callers));
  return log;
}

StoreLog::~StoreLog() {
  for (const std::string& model : models_) EndIfNot(store_->Delete(model));
}

void StoreLog::Append(int caller, const std::string& record) {
  std::binary_semaphore durable(0);
  std::vector<Record> records;
  records.push_back({.step = ++steps_[caller], .kind = 2, .payload = record});
  journals_[caller]->Append(std::move(records), [&](const absl::Status& kept) {
    EndIfNot(kept);
    durable.release();
  });
  durable.acquire();
}

void StoreLog::Trim() {
  // Chores are done in turn: when one more snapshot is written, what the others let go is gone.
  constexpr int kKept = 2, kRounds = kKept + 1;
  for (int round = 0; round < kRounds; ++round) {
    std::counting_semaphore<> written(0);
    for (size_t i = 0; i < journals_.size(); ++i) {
      WriteSnapshot(static_cast<int>(i), "state", [&] { written.release(); });
    }
    for (size_t i = 0; i < journals_.size(); ++i) written.acquire();
  }
}

void StoreLog::WriteSnapshot(int caller, std::string bytes, std::function<void()> done) {
  journals_[caller]->WriteSnapshot({journals_[caller]->end(), "bench", std::move(bytes)},
                                   [done = std::move(done)](const absl::Status& kept) {
                                     EndIfNot(kept);
                                     done();
                                   });
}

}  // namespace lazynorm
