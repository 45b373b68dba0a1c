#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace lazynorm {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

double ProcessorSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return absl::ToDoubleSeconds(absl::DurationFromTimeval(usage.ru_utime) +
                               absl::DurationFromTimeval(usage.ru_stime));
}

double ResidentBytes() {
  double size = 0, resident = 0;  // in pages; proc(5)
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

MetricFamily FamilyOf(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family = {name, help, type, {}};
  family.metric.resize(1);
  (type == MetricType::Counter ? family.metric[0].counter.value : family.metric[0].gauge.value) =
      value;
  return family;
}

}  // namespace

std::vector<MetricFamily> ProcessFamilies(absl::Time start) {
  return {FamilyOf("process_start_time_seconds", "When the process began, since the Unix epoch.",
                   MetricType::Gauge, absl::ToDoubleSeconds(start - absl::UnixEpoch())),
          FamilyOf("process_cpu_seconds_total", "Processor time used.", MetricType::Counter,
                   ProcessorSeconds()),
          FamilyOf("process_resident_memory_bytes", "Memory in use.", MetricType::Gauge,
                   ResidentBytes())};
}

}  // namespace lazynorm
