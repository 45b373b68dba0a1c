#include "tests/bench/step_bench.h"

#include <time.h>

#include <memory>

#include "model/kernels.h"
#include "model/learner.h"
#include "model/status_macros.h"
#include "tests/bench/median.h"

namespace lazynorm {
namespace {

constexpr int kRows = 32;
constexpr int kWidth = 10;
constexpr int kBatches = 64;
constexpr int kSteps = 2000;  // of one round

double ThreadMicros() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// Rows as they come: the same ones over and over would let the processor learn their branches.
struct Rows {
  Matrix x = Matrix::Random(kRows, kWidth), y = Matrix::Random(kRows, 1);
};

struct Level {
  const Kernels* kernels;
  std::unique_ptr<Learner> learner;
  std::vector<double> micros;
};

absl::StatusOr<Level> MakeLevel(const Kernels* kernels) {
  ModelSpec spec{.layers = Expand({.hidden = {64, 64}})};
  ASSIGN_OR_RETURN(std::unique_ptr<Learner> learner, Learner::Create(spec, Limits()));
  return Level{kernels, std::move(learner), {}};
}

absl::Status RunRound(Level& level, const std::vector<Rows>& stream) {
  UseKernels(level.kernels->level);
  const double begin = ThreadMicros();
  for (int i = 0; i < kSteps; ++i) {
    const Rows& rows = stream[i % stream.size()];
    const Batch batch = {.features = ViewOf(rows.x), .targets = ViewOf(rows.y)};
    RETURN_IF_ERROR(level.learner->Apply(TrainCommand{.batch = batch}).status());
  }
  level.micros.push_back((ThreadMicros() - begin) / kSteps);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureStep(int rounds) {
  const std::vector<Rows> stream(kBatches);
  std::vector<Row> rows;
  for (const Kernels* kernels : AvailableKernels()) {
    UseKernels(kernels->level);  // of a model that is made for it
    ASSIGN_OR_RETURN(Level level, MakeLevel(kernels));
    RETURN_IF_ERROR(RunRound(level, stream));  // warm-up
    level.micros.clear();
    for (int i = 0; i < rounds; ++i) RETURN_IF_ERROR(RunRound(level, stream));
    const double micros = Median(level.micros);
    rows.push_back({.what = "learning step 10-64-64-1, 32 rows",
                    .who = std::string(kernels->level),
                    .values = {{"us", micros}, {"per second", 1e6 / micros}}});
  }
  UseKernels(AvailableKernels().front()->level);
  return rows;
}

}  // namespace lazynorm
