#include "server/base/executor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace lazynorm {
namespace {

TEST(ExecutorTest, StopRunsEverythingThatIsQueued) {
  std::atomic<int> runs = 0;
  Executor executor(2);
  for (int i = 0; i < 1000; ++i) executor.Run([&] { ++runs; });
  executor.Stop();
  EXPECT_EQ(runs, 1000);
}

TEST(ExecutorTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    Executor executor(1);
    for (int i = 0; i < 100; ++i) executor.Run([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(ExecutorTest, WhatRunningWorkQueuesDuringStopStillRuns) {
  std::atomic<int> runs = 0;
  Executor executor(2);
  std::function<void(int)> chain = [&](int left) {
    ++runs;
    absl::SleepFor(absl::Microseconds(100));
    if (left > 0) executor.Run([&, left] { chain(left - 1); });
  };
  executor.Run([&] { chain(99); });
  executor.Stop();
  EXPECT_EQ(runs, 100);
}

TEST(ExecutorTest, ThreadsWorkAtTheSameTime) {
  std::atomic<int> arrived = 0;
  Executor executor(2);
  for (int i = 0; i < 2; ++i) {
    executor.Run([&] {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
  }
  executor.Stop();
  EXPECT_EQ(arrived, 2);
}

// Of the thread that asks: as far as sched_getattr(2) tells it, what begins every version of its
// answer.
struct Scheduling {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t slice_ns, deadline_ns, period_ns;
};

Scheduling SchedulingOf(Executor& executor) {
  Scheduling scheduling{};
  executor.Run([&] { syscall(SYS_sched_getattr, 0, &scheduling, sizeof(scheduling), 0); });
  executor.Stop();
  return scheduling;
}

TEST(ExecutorTest, ThreadsThatGiveWayTakeALongerSlice) {
  Executor eager(1), patient(1, 7);
  const Scheduling first = SchedulingOf(eager), second = SchedulingOf(patient);
  EXPECT_EQ(first.nice, getpriority(PRIO_PROCESS, 0));
  EXPECT_EQ(second.nice, 7);
  EXPECT_EQ(second.policy, first.policy);
  // Before 6.12 Linux had no slices, and tells of none.
  EXPECT_TRUE(first.slice_ns == 0 || second.slice_ns > 10 * first.slice_ns) << second.slice_ns;
}

TEST(ExecutorTest, PartsRunOnceEachAndAllBeforeTheReturn) {
  Executor executor(3);
  for (const int parts : {0, 1, 2, 3, 100}) {
    std::vector<std::atomic<int>> runs(parts);
    executor.RunParts(parts, [&](int i) { ++runs[i]; });
    for (const auto& count : runs) EXPECT_EQ(count, 1) << parts;
  }
}

TEST(ExecutorTest, PartsAreSharedWithIdleThreads) {
  Executor executor(2);
  std::atomic<int> arrived = 0;
  executor.RunParts(2, [&](int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ExecutorTest, PartsOfWorkThatKeepsAllThreadsBusyStillRun) {
  std::atomic<int> runs = 0;
  Executor executor(2);
  for (int i = 0; i < 20; ++i) {
    executor.Run([&] { executor.RunParts(4, [&](int) { ++runs; }); });
  }
  executor.Stop();
  EXPECT_EQ(runs, 80);
}

TEST(ExecutorTest, AfterStopWorkRunsAtOnceOnTheCallersThread) {
  Executor executor(1);
  executor.Stop();
  std::thread::id ran_on;
  executor.Run([&] { ran_on = std::this_thread::get_id(); });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

}  // namespace
}  // namespace lazynorm
