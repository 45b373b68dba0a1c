#include "tests/bench/load.h"

#include <algorithm>

#include "tests/bench/median.h"

namespace lazynorm {

void LoadMeter::Count(absl::Time sent) {
  const absl::Time now = absl::Now();
  if (!begun_ && now >= begin_) Begin(now);
  if (!begun_ || over_) return;
  ++count_;
  if (sent != absl::InfinitePast()) micros_.push_back(absl::ToDoubleMicroseconds(now - sent));
  if (now >= end_) End(now);
}

void LoadMeter::Begin(absl::Time now) {
  begun_ = true;
  end_ += now - begin_;
  begin_ = now;
  server_cpu_ = server_.CpuTime();
  own_cpu_ = OwnCpuTime();
  machine_cpu_ = MachineCpuTime();
}

void LoadMeter::End(absl::Time now) {
  over_ = true;
  end_ = now;
  server_cpu_ = server_.CpuTime() - server_cpu_;
  own_cpu_ = OwnCpuTime() - own_cpu_;
  machine_cpu_ = MachineCpuTime() - machine_cpu_;
}

LoadResult LoadMeter::Result() {
  const double calls = static_cast<double>(std::max<int64_t>(count_, 1));
  const absl::Duration time = end_ - begin_;
  const absl::Duration foreign = machine_cpu_ - own_cpu_ - server_cpu_;
  LoadResult result;
  result.per_second = calls / absl::ToDoubleSeconds(time);
  result.server_cpu_us = absl::ToDoubleMicroseconds(server_cpu_) / calls;
  result.foreign_cores = std::max(0.0, absl::FDivDuration(foreign, time));
  result.p50_us = Quantile(micros_, 0.5);
  result.p90_us = Quantile(micros_, 0.9);
  result.p99_us = Quantile(micros_, 0.99);
  result.p999_us = Quantile(micros_, 0.999);
  return result;
}

}  // namespace lazynorm
