#include "tests/bench/loops.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "model/status_macros.h"
#include "tests/bench/median.h"

namespace lazynorm {
namespace {

using PredictStub = std::shared_ptr<v1::PredictionService::Stub>;
using TrainStub = std::shared_ptr<v1::TrainingService::Stub>;

std::string Size(int rows, int columns) {
  return absl::StrCat(rows, "x", columns);
}

UnaryLoad<v1::PredictResponse> PredictLoad(const std::vector<PredictStub>& stubs,
                                           const std::vector<v1::PredictRequest>& requests) {
  return UnaryLoad<v1::PredictResponse>(
      [&](grpc::ClientContext* context, grpc::CompletionQueue* queue, int64_t n) {
        return stubs[n % stubs.size()]->PrepareAsyncPredict(context, requests[n % requests.size()],
                                                            queue);
      });
}

}  // namespace

absl::Status RunRounds(const BenchOptions& options, std::vector<Loop>& loops) {
  for (int round = 0; round < options.rounds; ++round) {
    for (Loop& loop : loops) {
      ASSIGN_OR_RETURN(const LoadResult result,
                       loop.run(LoadMeter(*loop.server->process, options.time)));
      loop.results.push_back(result);
    }
  }
  return absl::OkStatus();
}

double MedianOf(const Loop& loop, Field field) {
  std::vector<double> values;
  for (const LoadResult& result : loop.results) values.push_back(result.*field);
  return Median(values);
}

double MedianRatio(const Loop& loop, const Loop& to, Field field) {
  std::vector<double> ratios;
  for (size_t i = 0; i < loop.results.size(); ++i) {
    ratios.push_back(loop.results[i].*field / (to.results[i].*field));
  }
  return Median(ratios);
}

Row ToRow(const Loop& loop) {
  return {.what = loop.what,
          .who = loop.who,
          .values = {{"per second", MedianOf(loop, &LoadResult::per_second)},
                     {"p50 us", MedianOf(loop, &LoadResult::p50_us)},
                     {"p90 us", MedianOf(loop, &LoadResult::p90_us)},
                     {"p99 us", MedianOf(loop, &LoadResult::p99_us)},
                     {"p99.9 us", MedianOf(loop, &LoadResult::p999_us)},
                     {"server CPU us", MedianOf(loop, &LoadResult::server_cpu_us)},
                     {"foreign cores", MedianOf(loop, &LoadResult::foreign_cores)}}};
}

Loop PredictLoop(const Server& server, const std::vector<std::string>& models, int rows,
                 int columns, int in_flight,
                 const std::vector<std::shared_ptr<grpc::Channel>>& channels) {
  std::vector<v1::PredictRequest> requests;
  for (const std::string& model : models) requests.push_back(PredictRequest(model, rows, columns));
  std::vector<PredictStub> stubs;
  for (const auto& channel : channels) stubs.push_back(v1::PredictionService::NewStub(channel));
  if (stubs.empty()) stubs.push_back(v1::PredictionService::NewStub(server.channel));
  return {.what = absl::StrCat("Predict ", Size(rows, columns), ", ", in_flight, " in flight"),
          .server = &server,
          .who = server.name,
          .run = [=](LoadMeter meter) {
            return PredictLoad(stubs, requests).Run(in_flight, std::move(meter));
          }};
}

Loop OpenPredictLoop(const Server& server, const std::string& model, int rows, int columns,
                     int per_second) {
  const std::vector<v1::PredictRequest> requests = {PredictRequest(model, rows, columns)};
  const std::vector<PredictStub> stubs = {v1::PredictionService::NewStub(server.channel)};
  return {.what = absl::StrCat("Predict ", Size(rows, columns), ", open, ", per_second, "/s"),
          .server = &server,
          .who = server.name,
          .run = [=](LoadMeter meter) {
            return PredictLoad(stubs, requests).RunOpen(per_second, std::move(meter));
          }};
}

Loop PredictStreamLoop(const Server& server, const std::string& model, int rows, int columns,
                       int window) {
  const PredictStub stub = v1::PredictionService::NewStub(server.channel);
  return {.what = absl::StrCat("PredictStream ", Size(rows, columns), ", window ", window),
          .server = &server,
          .who = server.name,
          .run = [=](LoadMeter meter) {
            StreamLoad<v1::PredictRequest, v1::PredictResponse> load(
                [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
                  return stub->PrepareAsyncPredictStream(context, queue);
                },
                PredictRequest(model, rows, columns));
            return load.Run(window, std::move(meter));
          }};
}

Loop TrainLoop(const Server& server, const std::string& model, const Shape& shape, int in_flight) {
  const TrainStub stub = v1::TrainingService::NewStub(server.channel);
  return {.what = absl::StrCat("Train ", Size(shape.rows, shape.in), ", ", in_flight, " in flight"),
          .server = &server,
          .who = server.name,
          .run = [=](LoadMeter meter) {
            const v1::TrainRequest request = TrainRequest(model, shape);
            UnaryLoad<v1::TrainResponse> load(
                [&](grpc::ClientContext* context, grpc::CompletionQueue* queue, int64_t /*n*/) {
                  return stub->PrepareAsyncTrain(context, request, queue);
                });
            return load.Run(in_flight, std::move(meter));
          }};
}

Loop TrainStreamLoop(const Server& server, const std::string& model, const Shape& shape, int window,
                     std::shared_ptr<grpc::Channel> channel) {
  if (channel == nullptr) channel = server.channel;
  const TrainStub stub = v1::TrainingService::NewStub(channel);
  return {.what = absl::StrCat("TrainStream ", Size(shape.rows, shape.in), ", window ", window),
          .server = &server,
          .who = "bare client",
          .run = [=](LoadMeter meter) {
            StreamLoad<v1::TrainRequest, v1::TrainResponse> load(
                [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
                  return stub->PrepareAsyncTrainStream(context, queue);
                },
                TrainRequest(model, shape));
            return load.Run(window, std::move(meter));
          }};
}

Loop ClientTrainLoop(const Server& server, const std::string& model, const Shape& shape,
                     int window) {
  return {.what = absl::StrCat("TrainStream ", Size(shape.rows, shape.in), ", window ", window),
          .server = &server,
          .who = "client library",
          .run = [=, &server](LoadMeter meter) -> absl::StatusOr<LoadResult> {
            ASSIGN_OR_RETURN(const Client client,
                             Client::Connect({.target = server.process->address()}));
            const auto stream = client.OpenTrainStream(
                window, [&](const auto& /*request*/, const auto& /*answer*/) { meter.Count(); });
            const v1::TrainRequest request = TrainRequest(model, shape);
            while (!meter.over()) RETURN_IF_ERROR(stream->Write(request));
            RETURN_IF_ERROR(stream->Finish());
            return meter.Result();
          }};
}

}  // namespace lazynorm
