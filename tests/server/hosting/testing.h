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
#include "server/hosting/trainer.h"

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

// Waits until `condition` holds, at most ten seconds.
inline bool Soon(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_HOSTING_TESTING_H_
