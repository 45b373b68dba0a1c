#include "tests/bench/hosting_bench.h"

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "model/learner.h"
#include "model/status_macros.h"
#include "tests/bench/loops.h"
#include "tests/bench/median.h"

namespace lazynorm {
namespace {

constexpr int kModels = 1000;

// Parameters and two moments of each, in float32.
double StateBytes(const Shape& shape) {
  const ModelSpec spec{.layers = Expand({.hidden = shape.hidden, .out_features = shape.out})};
  return 3.0 * sizeof(float) * static_cast<double>(ParameterCount(spec, shape.in));
}

Row MemoryRow(const std::string& who, int64_t bytes, double state) {
  const double each = static_cast<double>(bytes) / kModels;
  return {.what = absl::StrCat("memory of ", kModels, " models ", Shapes()[0].name),
          .who = who,
          .values = {{"MB", static_cast<double>(bytes) / 1e6},
                     {"KB a model", each / 1e3},
                     {"/parameters, moments", each / state}}};
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (int i = 0; i < kModels; ++i) names.push_back(absl::StrCat("m", i));
  return names;
}

// A new folder, gone with this.
class Folder {
 public:
  Folder() {
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~Folder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = std::filesystem::temp_directory_path() / "lazynorm-bench-XXXXXX";
};

absl::Status MeasureMemory(const Server& server, const std::string& store, std::vector<Row>& rows) {
  const Shape& shape = Shapes()[0];
  const double state = StateBytes(shape);
  const int64_t before = server.process->ResidentBytes();
  for (const std::string& name : Names()) RETURN_IF_ERROR(CreateModel(server, name, shape));
  rows.push_back(MemoryRow("created, " + store, server.process->ResidentBytes() - before, state));
  ASSIGN_OR_RETURN(const Client client, Client::Connect({.target = server.process->address()}));
  for (const std::string& name : Names()) {
    RETURN_IF_ERROR(client.Train(TrainRequest(name, shape)).status());
  }
  rows.push_back(MemoryRow("a step, " + store, server.process->ResidentBytes() - before, state));
  return absl::OkStatus();
}

absl::Status MeasureModelsAndCallers(const BenchOptions& options, const Server& server,
                                     std::vector<Row>& rows) {
  std::vector<Loop> loops;
  for (const int models : {1, 100, kModels}) {
    std::vector<std::string> names = Names();
    names.resize(models);
    loops.push_back(PredictLoop(server, names, 1, Shapes()[0].in, 16));
    loops.back().who = absl::StrCat(models, models == 1 ? " model" : " models");
  }
  for (const int callers : {16, 64}) {
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    for (int i = 0; i < callers; ++i) channels.push_back(Connect(server));
    loops.push_back(PredictLoop(server, {"m0"}, 1, Shapes()[0].in, callers, channels));
    loops.back().who = absl::StrCat(callers, " connections");
  }
  RETURN_IF_ERROR(RunRounds(options, loops));
  for (const Loop& loop : loops) rows.push_back(ToRow(loop));
  return absl::OkStatus();
}

// Steps a second of all `models` together, each with a stream of its own.
absl::StatusOr<double> TrainTogether(const BenchOptions& options, const Server& server,
                                     int models) {
  std::vector<absl::StatusOr<LoadResult>> results(models, absl::UnknownError("did not run"));
  std::vector<std::thread> threads;
  for (int i = 0; i < models; ++i) {
    threads.emplace_back([&, i] {
      const Loop loop = TrainStreamLoop(server, absl::StrCat("medium-", i), Shapes()[1], 16);
      results[i] = loop.run(LoadMeter(*server.process, options.time));
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (const auto& result : results) {
    RETURN_IF_ERROR(result.status());
    sum += result->per_second;
  }
  return sum;
}

absl::Status MeasureParallelTraining(const BenchOptions& options, const Server& server,
                                     std::vector<Row>& rows) {
  constexpr int kCounts[] = {1, 2, 4};
  for (int i = 0; i < 4; ++i) {
    RETURN_IF_ERROR(CreateModel(server, absl::StrCat("medium-", i), Shapes()[1]));
  }
  std::vector<std::vector<double>> rates(3), gains(3);
  for (int round = 0; round < options.rounds; ++round) {
    for (int i = 0; i < 3; ++i) {
      ASSIGN_OR_RETURN(const double rate, TrainTogether(options, server, kCounts[i]));
      rates[i].push_back(rate);
      gains[i].push_back(rate / rates[0].back());
    }
  }
  for (int i = 0; i < 3; ++i) {
    rows.push_back({.what = absl::StrCat("training ", Shapes()[1].name),
                    .who = absl::StrCat(kCounts[i], kCounts[i] == 1 ? " model" : " models"),
                    .values = {{"steps per second", Median(rates[i])},
                               {"times one model's", Median(gains[i])}}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureHosting(const BenchOptions& options) {
  ASSIGN_OR_RETURN(const Server server, StartProduct(options, {"--max_models=1100"}));
  std::vector<Row> rows;
  {
    const Folder folder;
    ASSIGN_OR_RETURN(
        const Server durable,
        StartProduct(options, {"--max_models=1100", "--store=", "--data_dir=" + folder.path()}));
    RETURN_IF_ERROR(MeasureMemory(durable, "disk", rows));
  }
  RETURN_IF_ERROR(MeasureMemory(server, "memory", rows));
  RETURN_IF_ERROR(MeasureModelsAndCallers(options, server, rows));
  RETURN_IF_ERROR(MeasureParallelTraining(options, server, rows));
  return rows;
}

}  // namespace lazynorm
