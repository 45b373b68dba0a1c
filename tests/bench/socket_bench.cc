#include "tests/bench/socket_bench.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/learner.h"
#include "model/status_macros.h"
#include "tests/bench/loops.h"
#include "tests/bench/stopwatch.h"

namespace lazynorm {
namespace {

constexpr int kInFlight[] = {1, 16, 64};
constexpr int kOpenPerSecond[] = {2000, 8000};
constexpr int kWindow = 16;
constexpr int kLargeRows = 1024;

Shape Of(int in) {
  return {.name = absl::StrCat("mlp-", in), .in = in, .hidden = {64, 64}, .out = 1, .rows = 32};
}

// What the first of three loops costs beside the other two, less `compute` microseconds a call.
Row RatioRow(const Loop* loops, double compute) {
  Row row{.what = loops[0].what, .who = "ratios", .values = {}};
  for (const Loop* bare : {&loops[1], &loops[2]}) {
    const std::string to = bare == &loops[1] ? "/async" : "/callback";
    row.values.emplace_back(absl::StrCat("rate", to),
                            MedianRatio(loops[0], *bare, &LoadResult::per_second));
    row.values.emplace_back(absl::StrCat("CPU", to),
                            MedianRatio(loops[0], *bare, &LoadResult::server_cpu_us));
  }
  const double bare = MedianOf(loops[1], &LoadResult::server_cpu_us);
  row.values.emplace_back("compute us", compute);
  row.values.emplace_back("CPU/(async+compute)",
                          MedianOf(loops[0], &LoadResult::server_cpu_us) / (bare + compute));
  return row;
}

Row StreamRow(const Loop& stream, const Loop& unary) {
  return {.what = stream.what,
          .who = "to unary",
          .values = {{"rate", MedianRatio(stream, unary, &LoadResult::per_second)},
                     {"CPU", MedianRatio(stream, unary, &LoadResult::server_cpu_us)}}};
}

// What predicting itself takes, in this process.
absl::StatusOr<double> ComputeMicros(const Shape& shape, int rows) {
  ModelSpec spec{.layers = Expand({.hidden = shape.hidden}), .in_features = shape.in};
  ASSIGN_OR_RETURN(const std::unique_ptr<Learner> learner, Learner::Create(spec, Limits()));
  const std::shared_ptr<const Plan> plan = learner->MakePlan();
  const Matrix x = Matrix::Random(rows, shape.in);
  Matrix y(rows, 1);
  return MicrosOf([&] { plan->Predict(ViewOf(x), ViewOf(y)); });
}

struct Servers {
  Server product, async, callback;
};

absl::StatusOr<Servers> StartAll(const BenchOptions& options) {
  Servers servers;
  ASSIGN_OR_RETURN(servers.product, StartProduct(options));
  ASSIGN_OR_RETURN(servers.async, StartServer("bare async", {options.self, "--bare=async"}));
  ASSIGN_OR_RETURN(servers.callback,
                   StartServer("bare callback", {options.self, "--bare=callback"}));
  for (const int in : {10, 64}) RETURN_IF_ERROR(CreateModel(servers.product, Of(in).name, Of(in)));
  return servers;
}

absl::StatusOr<std::vector<Row>> ClosedLoops(const BenchOptions& options, const Servers& servers) {
  std::vector<Loop> loops;
  std::vector<double> compute;
  for (const auto& [rows, columns] :
       {std::pair(1, 10), std::pair(32, 64), std::pair(kLargeRows, 64)}) {
    ASSIGN_OR_RETURN(const double micros, ComputeMicros(Of(columns), rows));
    for (const int in_flight : kInFlight) {
      compute.push_back(micros);
      for (const Server* server : {&servers.product, &servers.async, &servers.callback}) {
        loops.push_back(PredictLoop(*server, {Of(columns).name}, rows, columns, in_flight));
      }
    }
  }
  RETURN_IF_ERROR(RunRounds(options, loops));
  std::vector<Row> rows;
  for (const Loop& loop : loops) rows.push_back(ToRow(loop));
  for (size_t i = 0; i < compute.size(); ++i) rows.push_back(RatioRow(&loops[3 * i], compute[i]));
  return rows;
}

absl::StatusOr<std::vector<Row>> OpenLoops(const BenchOptions& options, const Servers& servers) {
  std::vector<Loop> loops;
  for (const int per_second : kOpenPerSecond) {
    for (const Server* server : {&servers.product, &servers.async, &servers.callback}) {
      loops.push_back(OpenPredictLoop(*server, Of(10).name, 1, 10, per_second));
    }
  }
  RETURN_IF_ERROR(RunRounds(options, loops));
  std::vector<Row> rows;
  for (const Loop& loop : loops) rows.push_back(ToRow(loop));
  return rows;
}

absl::StatusOr<std::vector<Row>> Streams(const BenchOptions& options, const Server& product) {
  const Shape shape = Of(10);
  std::vector<Loop> loops = {PredictLoop(product, {shape.name}, 1, 10, kWindow),
                             PredictStreamLoop(product, shape.name, 1, 10, kWindow),
                             TrainLoop(product, shape.name, shape, 1),
                             TrainLoop(product, shape.name, shape, kWindow),
                             TrainStreamLoop(product, shape.name, shape, kWindow),
                             ClientTrainLoop(product, shape.name, shape, kWindow)};
  RETURN_IF_ERROR(RunRounds(options, loops));
  std::vector<Row> rows;
  for (const Loop& loop : loops) rows.push_back(ToRow(loop));
  rows.push_back(StreamRow(loops[1], loops[0]));
  rows.push_back(StreamRow(loops[4], loops[3]));
  return rows;
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureOverTheSocket(const BenchOptions& options) {
  ASSIGN_OR_RETURN(const Servers servers, StartAll(options));
  ASSIGN_OR_RETURN(std::vector<Row> rows, ClosedLoops(options, servers));
  ASSIGN_OR_RETURN(const std::vector<Row> open, OpenLoops(options, servers));
  ASSIGN_OR_RETURN(const std::vector<Row> streams, Streams(options, servers.product));
  rows.insert(rows.end(), open.begin(), open.end());
  rows.insert(rows.end(), streams.begin(), streams.end());
  return rows;
}

}  // namespace lazynorm
