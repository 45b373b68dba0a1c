#ifndef LAZYNORM_TESTS_SERVER_HOSTING_TESTING_H_
#define LAZYNORM_TESTS_SERVER_HOSTING_TESTING_H_

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "model/errors.h"
#include "model/learner.h"
#include "server/base/clock.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"
#include "server/hosting/durable_model.h"
#include "server/hosting/trainer.h"
#include "server/store/store.h"

namespace lazynorm {

// One thread that can be held up, so that a test decides when queued work begins.
class HeldExecutor {
 public:
  Executor* get() { return &executor_; }

  // Returns when the thread is busy doing nothing; it goes on at LetGo.
  void Hold() {
    held_ = std::promise<void>();
    std::promise<void> begun;
    executor_.Run([&begun, go = held_.get_future().share()] {
      begun.set_value();
      go.wait();
    });
    begun.get_future().wait();
  }
  void LetGo() { held_.set_value(); }

 private:
  std::promise<void> held_;
  Executor executor_{1};
};

// A clock that stands still until it is set.
class SetClock : public Clock {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration time) {
    MutexLock lock(&mutex_);
    now_ += time;
  }

 private:
  mutable Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1'700'000'000);
};

// Two labelled rows of `columns` features; the number shifts them.
struct Rows {
  explicit Rows(float number, int columns = 2, int rows = 2)
      : features(rows * columns), targets(rows), columns(columns) {
    for (size_t i = 0; i < features.size(); ++i) features[i] = number + 0.37f * ((i * 7) % 5);
    for (size_t i = 0; i < targets.size(); ++i) targets[i] = number - static_cast<float>(i);
  }
  TrainCommand command(absl::string_view request_id = "") const {
    const auto count = static_cast<int64_t>(targets.size());
    return {.batch = {.features = ConstMatrixView(features.data(), count, columns),
                      .targets = ConstMatrixView(targets.data(), count, 1)},
            .request_id = request_id};
  }

  std::vector<float> features, targets;
  int columns;
};

inline ModelSpec SmallSpec() {
  return {.layers = {LinearSpec{.out_features = 3}, BatchNormSpec{},
                     ActivationSpec{.kind = ActivationKind::kTanh}, LinearSpec{}},
          .seed = 7};
}

inline std::unique_ptr<Learner> MakeLearner(const ModelSpec& spec = SmallSpec()) {
  auto learner = Learner::Create(spec, Limits());
  EXPECT_TRUE(learner.ok()) << learner.status();
  return *std::move(learner);
}

// A store in memory whose journals can be made to fail. Thread-safe.
class BrittleStore : public Store {
 public:
  // What is appended from now on is not kept, and hears this; OK mends it.
  void Break(absl::Status status) {
    MutexLock lock(&mutex_);
    broken_ = std::move(status);
  }
  // Commits wait until LetGo.
  void Hold() { held_.Hold(); }
  void LetGo() { held_.LetGo(); }

  absl::StatusOr<std::vector<StoredModel>> Models() const override { return memory_->Models(); }
  absl::StatusOr<std::unique_ptr<Journal>> Create(absl::string_view model,
                                                  Record creation) override {
    return Wrap(memory_->Create(model, std::move(creation)));
  }
  absl::StatusOr<std::unique_ptr<Journal>> Open(absl::string_view model,
                                                const Reader& reader) override {
    return Wrap(memory_->Open(model, reader));
  }
  absl::Status ReadAt(absl::string_view model, int64_t step, const Reader& reader) const override {
    return memory_->ReadAt(model, step, reader);
  }
  absl::StatusOr<Position> ReadHistory(absl::string_view model,
                                       const Reader& reader) const override {
    return memory_->ReadHistory(model, reader);
  }
  absl::StatusOr<std::unique_ptr<Journal>> CreateAt(absl::string_view model,
                                                    Snapshot base) override {
    return Wrap(memory_->CreateAt(model, std::move(base)));
  }
  absl::Status Delete(absl::string_view model) override { return memory_->Delete(model); }
  absl::StatusOr<std::vector<CheckpointInfo>> Checkpoints(absl::string_view model) const override {
    return memory_->Checkpoints(model);
  }
  absl::StatusOr<Snapshot> ReadCheckpoint(absl::string_view model,
                                          absl::string_view id) const override {
    return memory_->ReadCheckpoint(model, id);
  }
  absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view id) override {
    return memory_->DeleteCheckpoint(model, id);
  }
  absl::Status Backup(const std::string& directory) const override {
    return memory_->Backup(directory);
  }

 private:
  class BrittleJournal : public Journal {
   public:
    BrittleJournal(BrittleStore* store, std::unique_ptr<Journal> journal)
        : store_(store), journal_(std::move(journal)) {}

    Position Append(std::vector<Record> records, Done done) override {
      if (failed_.ok() && !records.empty()) failed_ = store_->broken();
      // On the store's thread, in order with the others.
      if (!failed_.ok()) records.clear();
      return journal_->Append(
          std::move(records),
          [store = store_, failed = failed_, done = std::move(done)](absl::Status kept) mutable {
            store->held_.get()->Run([failed = std::move(failed), kept = std::move(kept),
                                     done = std::move(done)]() mutable {
              done(failed.ok() ? std::move(kept) : std::move(failed));
            });
          });
    }
    Position end() const override { return journal_->end(); }
    void WriteSnapshot(Snapshot snapshot, Done done) override {
      journal_->WriteSnapshot(std::move(snapshot), std::move(done));
    }
    void WriteCheckpoint(std::string label, absl::Time time, Snapshot snapshot,
                         absl::AnyInvocable<void(absl::StatusOr<CheckpointInfo>)> done) override {
      journal_->WriteCheckpoint(std::move(label), time, std::move(snapshot), std::move(done));
    }

   private:
    BrittleStore* const store_;
    const std::unique_ptr<Journal> journal_;
    absl::Status failed_;
  };

  absl::Status broken() {
    MutexLock lock(&mutex_);
    return broken_;
  }
  absl::StatusOr<std::unique_ptr<Journal>> Wrap(absl::StatusOr<std::unique_ptr<Journal>> journal) {
    if (!journal.ok()) return journal.status();
    return std::make_unique<BrittleJournal>(this, *std::move(journal));
  }

  const std::unique_ptr<Store> memory_ = *OpenStore("memory:", {});
  Mutex mutex_;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  HeldExecutor held_;
};

// A new model "m" in the store.
inline std::unique_ptr<DurableModel> NewModel(Store& store, const Clock& clock,
                                              const ModelSpec& spec = SmallSpec()) {
  auto model = DurableModel::Create("m", MakeLearner(spec), {.store = &store, .clock = &clock});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// What commands were answered, in the order of the answers. Thread-safe.
class Answers {
 public:
  struct Entry {
    int id;
    absl::StatusOr<StepResult> result;
  };

  // A `done` that notes its answer under `id`.
  absl::AnyInvocable<void(absl::StatusOr<StepResult>)> For(int id) {
    return [this, id](absl::StatusOr<StepResult> result) {
      MutexLock lock(&mutex_);
      entries_.push_back({id, std::move(result)});
      changed_.NotifyAll();
    };
  }
  // Waits for that many answers.
  std::vector<Entry> Wait(size_t count) {
    MutexLock lock(&mutex_);
    while (entries_.size() < count) changed_.Wait(&mutex_);
    return entries_;
  }
  size_t size() {
    MutexLock lock(&mutex_);
    return entries_.size();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

// Waits until `condition` holds; longer than any pause of a busy machine.
inline bool Soon(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_HOSTING_TESTING_H_
