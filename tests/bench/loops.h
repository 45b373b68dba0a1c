#ifndef LAZYNORM_TESTS_BENCH_LOOPS_H_
#define LAZYNORM_TESTS_BENCH_LOOPS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/load.h"
#include "tests/bench/report.h"
#include "tests/bench/servers.h"

namespace lazynorm {

// One loop, run once a round: what it measures, on which server, and how. Plain value.
struct Loop {
  std::string what;
  const Server* server;
  std::string who;
  std::function<absl::StatusOr<LoadResult>(LoadMeter)> run;
  std::vector<LoadResult> results = {};  // one a round
};

// Every round runs every loop once, one right after the other, so that what else the machine does
// hits all alike.
absl::Status RunRounds(const BenchOptions& options, std::vector<Loop>& loops);

using Field = double LoadResult::*;

// Over the rounds.
double MedianOf(const Loop& loop, Field field);
// Of the ratios within a round.
double MedianRatio(const Loop& loop, const Loop& to, Field field);
// The medians of all that was measured.
Row ToRow(const Loop& loop);

// Predict, as many as `in_flight` at a time. `models` take turns, and so do `channels`; without any
// the server's own is used.
Loop PredictLoop(const Server& server, const std::vector<std::string>& models, int rows,
                 int columns, int in_flight,
                 const std::vector<std::shared_ptr<grpc::Channel>>& channels = {});
// The same at random times, so many a second.
Loop OpenPredictLoop(const Server& server, const std::string& model, int rows, int columns,
                     int per_second);
Loop PredictStreamLoop(const Server& server, const std::string& model, int rows, int columns,
                       int window);
Loop TrainLoop(const Server& server, const std::string& model, const Shape& shape, int in_flight);
// Over the server's channel, or another to it.
Loop TrainStreamLoop(const Server& server, const std::string& model, const Shape& shape, int window,
                     std::shared_ptr<grpc::Channel> channel = nullptr);
// With what the command-line client trains with.
Loop ClientTrainLoop(const Server& server, const std::string& model, const Shape& shape,
                     int window);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_LOOPS_H_
