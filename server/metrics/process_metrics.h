#ifndef LAZYNORM_SERVER_METRICS_PROCESS_METRICS_H_
#define LAZYNORM_SERVER_METRICS_PROCESS_METRICS_H_

#include <vector>

#include "absl/time/time.h"
#include "prometheus/metric_family.h"

namespace lazynorm {

// The series that Prometheus' own client libraries tell of a process, with their usual names: start
// time, processor time, resident memory. `start`: when the process began. Thread-safe.
std::vector<prometheus::MetricFamily> ProcessFamilies(absl::Time start);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_PROCESS_METRICS_H_
