#include "server/base/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace lazynorm {
namespace {

struct Counter {
  Mutex mutex;
  CondVar changed;
  int value ABSL_GUARDED_BY(mutex) = 0;
};

TEST(MutexTest, HoldsOthersOff) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        MutexLock lock(&counter.mutex);
        ++counter.value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(&counter.mutex);
  EXPECT_EQ(counter.value, 3000);
}

TEST(CondVarTest, WakesWhoWaits) {
  Counter counter;
  std::thread other([&] {
    MutexLock lock(&counter.mutex);
    counter.value = 1;
    counter.changed.NotifyAll();
  });
  {
    MutexLock lock(&counter.mutex);
    while (counter.value == 0) counter.changed.WaitUntil(&counter.mutex, absl::InfiniteFuture());
    EXPECT_EQ(counter.value, 1);
  }
  other.join();
}

TEST(CondVarTest, GivesUpAtTheDeadline) {
  Counter counter;
  const absl::Time deadline = absl::Now() + absl::Milliseconds(10);
  MutexLock lock(&counter.mutex);
  while (counter.changed.WaitUntil(&counter.mutex, deadline)) {
  }
  EXPECT_GE(absl::Now(), deadline);
}

}  // namespace
}  // namespace lazynorm
