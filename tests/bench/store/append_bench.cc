// What the store costs beside the least that durability can cost.
#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/status_macros.h"
#include "tests/bench/median.h"
#include "tests/bench/store/append_log.h"
#include "tests/bench/store/slices.h"
#include "tests/bench/store/store_bench.h"

namespace lazynorm {
namespace {

constexpr size_t kSmall = 1300, kLarge = size_t{64} << 10, kSnapshot = size_t{50} << 20;

std::function<void(int)> AppendTo(AppendLog& log, const std::string& record) {
  return [&log, &record](int caller) { log.Append(caller, record); };
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureAppends(const StoreBenchOptions& options) {
  std::vector<Row> rows;
  for (const size_t bytes : {kSmall, kLarge}) {
    const std::string record(bytes, 'r');
    for (const int callers : {1, 8, 64}) {
      const BenchFolder folder(options.folder);
      ASSIGN_OR_RETURN(const auto file, OpenPlainFile(folder.path()));
      ASSIGN_OR_RETURN(const auto store, StoreLog::Open(options.store, folder.path(), callers,
                                                        options.checkpoint_pages));
      Comparison comparison;
      RunSlice(callers, AppendTo(*store, record), options.slice);  // files grow to their size
      for (int round = 0; round < options.rounds; ++round) {
        store->Trim();
        const Slice kept = RunSlice(callers, AppendTo(*store, record), options.slice);
        comparison.Add(kept, RunSlice(callers, AppendTo(*file, record), options.slice));
      }
      comparison.AddTo(absl::StrCat("append ", bytes, " bytes, ", callers, " callers"), "store",
                       "plain file", &rows);
    }
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> MeasureSnapshot(const StoreBenchOptions& options) {
  constexpr int kCallers = 8;
  const std::string record(kSmall, 'r');
  std::vector<double> calm, during, most, seconds;
  for (int round = 0; round < options.rounds; ++round) {
    const BenchFolder folder(options.folder);
    ASSIGN_OR_RETURN(const auto log, StoreLog::Open(options.store, folder.path(), kCallers + 1,
                                                    options.checkpoint_pages));
    calm.push_back(RunSlice(kCallers, AppendTo(*log, record), options.slice).p99_us);
    std::atomic<bool> written = false;
    const absl::Time begin = absl::Now();
    log->WriteSnapshot(kCallers, std::string(kSnapshot, 's'), [&] { written = true; });
    const Slice slice = RunSlice(kCallers, AppendTo(*log, record), [&] { return written.load(); });
    seconds.push_back(absl::ToDoubleSeconds(absl::Now() - begin));
    during.push_back(slice.p99_us);
    most.push_back(slice.most_us);
  }
  return std::vector<Row>{{"appends beside a 50 MiB snapshot",
                           "store",
                           {{"p99 us before", Median(calm)},
                            {"p99 us", Median(during)},
                            {"longest us", Quantile(most, 1)},
                            {"snapshot s", Median(seconds)}}}};
}

}  // namespace lazynorm
