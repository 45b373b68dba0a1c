#include "tests/bench/latency_bench.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/status.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "model/status_macros.h"
#include "server/base/executor.h"
#include "tests/bench/loops.h"
#include "tests/bench/median.h"

namespace lazynorm {
namespace {

constexpr absl::Duration kSilence = absl::Milliseconds(1050);
constexpr int kServers = 5;
constexpr int kTriesEach = 30;
constexpr int kWindow = 16;

// Trains a model until it is stopped, over a connection of its own.
class Training {
 public:
  // `per_second` of the steps is known when this has ended.
  Training(const Server& server, const std::string& model, const Shape& shape)
      : thread_([this, &server, model, shape] {
          const Loop loop = TrainStreamLoop(server, model, shape, kWindow, Connect(server));
          while (!stop_) {
            const auto result = loop.run(LoadMeter(*server.process, absl::Milliseconds(100)));
            if (!result.ok()) return;
            per_second_.push_back(result->per_second);
          }
        }) {}
  ~Training() { Stop(); }

  // Steps a second.
  double Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return Median(per_second_);
  }

 private:
  std::atomic<bool> stop_ = false;
  std::vector<double> per_second_;
  std::thread thread_;
};

// Keeps a core busy until it is gone, as a trainer does, but with nothing to say to anybody: what
// the kernel alone makes of a thread that gives way.
class BusyThread {
 public:
  BusyThread() : executor_(1, kTrainersGiveWay) {
    executor_.Run([this] {
      while (!stop_) {
      }
    });
  }
  ~BusyThread() { stop_ = true; }

 private:
  static constexpr int kTrainersGiveWay = 15;
  std::atomic<bool> stop_ = false;
  Executor executor_;
};

absl::StatusOr<double> PredictMillis(v1::PredictionService::Stub& stub,
                                     const v1::PredictRequest& request) {
  grpc::ClientContext context;
  v1::PredictResponse response;
  const absl::Time begin = absl::Now();
  RETURN_IF_ERROR(FromGrpc(stub.Predict(&context, request, &response)));
  return absl::ToDoubleMilliseconds(absl::Now() - begin);
}

absl::StatusOr<LoadResult> RunBeside(const BenchOptions& options, const Loop& loop) {
  absl::SleepFor(options.time / 4);
  return loop.run(LoadMeter(*loop.server->process, options.time));
}

Row RatiosToAlone(const Loop& beside, const Loop& alone) {
  return {.what = alone.what,
          .who = beside.who,
          .values = {{"p50 ratio", MedianRatio(beside, alone, &LoadResult::p50_us)},
                     {"p99 ratio", MedianRatio(beside, alone, &LoadResult::p99_us)}}};
}

// What each round gave, alone, beside a thread that is merely busy, and beside the training.
absl::Status Beside(const BenchOptions& options, const Server& server, const Shape& shape,
                    std::vector<Row>& rows) {
  Loop alone = PredictLoop(server, {"small"}, 1, Shapes()[0].in, 1);
  Loop busy = alone, beside = alone;
  alone.who = "alone";
  busy.who = "beside a loop";
  beside.who = absl::StrCat("beside ", shape.name);
  std::vector<double> steps;
  for (int round = 0; round < options.rounds; ++round) {
    ASSIGN_OR_RETURN(const LoadResult before, alone.run(LoadMeter(*server.process, options.time)));
    alone.results.push_back(before);
    {
      BusyThread thread;
      ASSIGN_OR_RETURN(const LoadResult during, RunBeside(options, busy));
      busy.results.push_back(during);
    }
    Training training(server, "trained", shape);
    ASSIGN_OR_RETURN(const LoadResult during, RunBeside(options, beside));
    beside.results.push_back(during);
    steps.push_back(training.Stop());
  }
  for (const Loop* loop : {&alone, &busy, &beside}) rows.push_back(ToRow(*loop));
  for (const Loop* loop : {&busy, &beside}) rows.push_back(RatiosToAlone(*loop, alone));
  rows.back().values.emplace_back("steps per second", Median(steps));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureAfterSilence(const BenchOptions& options) {
  std::vector<Server> servers;
  std::vector<std::unique_ptr<v1::PredictionService::Stub>> stubs;
  const Shape& shape = Shapes()[0];
  for (int i = 0; i < kServers; ++i) {
    ASSIGN_OR_RETURN(Server server, StartProduct(options));
    RETURN_IF_ERROR(CreateModel(server, "small", shape));
    stubs.push_back(v1::PredictionService::NewStub(server.channel));
    servers.push_back(std::move(server));
  }
  const v1::PredictRequest request = PredictRequest("small", 1, shape.in);
  for (const auto& stub : stubs) RETURN_IF_ERROR(PredictMillis(*stub, request).status());
  std::vector<double> millis;
  for (int i = 0; i < kTriesEach; ++i) {
    absl::SleepFor(kSilence);
    for (const auto& stub : stubs) {
      ASSIGN_OR_RETURN(const double took, PredictMillis(*stub, request));
      millis.push_back(took);
    }
  }
  return std::vector<Row>{
      {.what = absl::StrCat("Predict after ", absl::FormatDuration(kSilence), " of silence"),
       .who = absl::StrCat(millis.size(), " tries"),
       .values = {{"p50 ms", Median(millis)},
                  {"p99 ms", Quantile(millis, 0.99)},
                  {"worst ms", *std::max_element(millis.begin(), millis.end())}}}};
}

absl::StatusOr<std::vector<Row>> MeasureBesideTraining(const BenchOptions& options) {
  std::vector<Row> rows;
  for (size_t i = 0; i < 2; ++i) {
    const Shape& shape = Shapes()[i];
    ASSIGN_OR_RETURN(const Server server, StartProduct(options));
    RETURN_IF_ERROR(CreateModel(server, "small", Shapes()[0]));
    RETURN_IF_ERROR(CreateModel(server, "trained", shape));
    RETURN_IF_ERROR(Beside(options, server, shape, rows));
  }
  return rows;
}

}  // namespace lazynorm
