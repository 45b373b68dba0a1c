#include "server/metrics/process_metrics.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace lazynorm {
namespace {

// The one sample of a family.
prometheus::ClientMetric Sample(const std::string& name) {
  for (const auto& family : ProcessFamilies(absl::FromUnixSeconds(1'700'000'000))) {
    if (family.name == name && family.metric.size() == 1) return family.metric[0];
  }
  ADD_FAILURE() << name << " is not there, or not once";
  return {};
}

TEST(ProcessMetricsTest, TheStartIsInSecondsSinceTheEpoch) {
  EXPECT_EQ(Sample("process_start_time_seconds").gauge.value, 1.7e9);
}

TEST(ProcessMetricsTest, MemoryInUseGrowsWithWhatIsUsed) {
  const double before = Sample("process_resident_memory_bytes").gauge.value;
  const std::vector<char> more(64 << 20, 'x');
  const double after = Sample("process_resident_memory_bytes").gauge.value;
  EXPECT_GT(before, 1 << 20);
  EXPECT_GT(after - before, 48 << 20) << more.size();
  EXPECT_LT(after - before, 96 << 20);
}

TEST(ProcessMetricsTest, ProcessorTimeGrowsWithWhatIsComputed) {
  const double before = Sample("process_cpu_seconds_total").counter.value;
  volatile double x = 0;
  for (int i = 0; i < 30'000'000; ++i) x = x + i;
  EXPECT_GT(Sample("process_cpu_seconds_total").counter.value - before, 0.005);
}

}  // namespace
}  // namespace lazynorm
