#include "tests/bench/socket_bench.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "model/status_macros.h"
#include "tests/bench/child.h"
#include "tests/bench/load.h"
#include "tests/bench/median.h"

namespace lazynorm {
namespace {

constexpr int kInFlight[] = {1, 16, 64};
constexpr int kTrainRows = 32;
constexpr int kWindow = 16;

v1::Matrix Numbers(int rows, int columns) {
  v1::Matrix matrix;
  matrix.set_rows(rows);
  matrix.set_columns(columns);
  for (int i = 0; i < rows * columns; ++i) {
    matrix.add_values(static_cast<float>(i * 37 % 101) / 50 - 1);
  }
  return matrix;
}

struct Server {
  std::string name;
  std::unique_ptr<Child> process;
  std::shared_ptr<grpc::Channel> channel;
};

absl::StatusOr<Server> StartServer(std::string name, const std::vector<std::string>& command) {
  Server server{.name = std::move(name)};
  ASSIGN_OR_RETURN(server.process, Child::Start(command));
  server.channel =
      grpc::CreateChannel(server.process->address(), grpc::InsecureChannelCredentials());
  return server;
}

absl::Status CreateModel(const Server& server, const std::string& id, int width) {
  ASSIGN_OR_RETURN(const Client client, Client::Connect({.target = server.process->address()}));
  v1::CreateModelRequest create;
  create.set_model_id(id);
  create.mutable_spec()->set_in_features(width);
  create.mutable_spec()->mutable_mlp()->add_hidden(64);
  create.mutable_spec()->mutable_mlp()->add_hidden(64);
  return client.CreateModel(create).status();
}

// One loop, run once a round: what it measures, on which server, and how.
struct Loop {
  std::string what;
  const Server* server;
  std::string who;
  std::function<absl::StatusOr<LoadResult>(LoadMeter)> run;
  std::vector<LoadResult> results;
};

Loop PredictLoop(const Server& server, int rows, int columns, int in_flight) {
  v1::PredictRequest request;
  request.set_model(absl::StrCat("mlp-", columns));
  *request.mutable_features() = Numbers(rows, columns);
  std::shared_ptr<v1::PredictionService::Stub> stub =
      v1::PredictionService::NewStub(server.channel);
  return {.what = absl::StrCat("Predict ", rows, "x", columns, ", ", in_flight, " in flight"),
          .server = &server,
          .who = server.name,
          .run = [=](LoadMeter meter) {
            UnaryLoad<v1::PredictRequest, v1::PredictResponse> load(
                [&](grpc::ClientContext* context, const v1::PredictRequest& r,
                    grpc::CompletionQueue* queue) {
                  return stub->PrepareAsyncPredict(context, r, queue);
                },
                request);
            return load.Run(in_flight, std::move(meter));
          }};
}

v1::TrainRequest TrainRequest() {
  v1::TrainRequest request;
  request.set_model("mlp-10");
  *request.mutable_features() = Numbers(kTrainRows, 10);
  *request.mutable_targets() = Numbers(kTrainRows, 1);
  return request;
}

Loop TrainLoop(const Server& server, int in_flight) {
  std::shared_ptr<v1::TrainingService::Stub> stub = v1::TrainingService::NewStub(server.channel);
  return {.what = absl::StrCat("Train 32x10, ", in_flight, " in flight"),
          .server = &server,
          .who = "lazynorm",
          .run = [=](LoadMeter meter) {
            UnaryLoad<v1::TrainRequest, v1::TrainResponse> load(
                [&](grpc::ClientContext* context, const v1::TrainRequest& r,
                    grpc::CompletionQueue* queue) {
                  return stub->PrepareAsyncTrain(context, r, queue);
                },
                TrainRequest());
            return load.Run(in_flight, std::move(meter));
          }};
}

std::string StreamName() {
  return absl::StrCat("TrainStream 32x10, window ", kWindow);
}

Loop TrainStreamLoop(const Server& server) {
  std::shared_ptr<v1::TrainingService::Stub> stub = v1::TrainingService::NewStub(server.channel);
  return {
      .what = StreamName(), .server = &server, .who = "bare client", .run = [=](LoadMeter meter) {
        StreamLoad<v1::TrainRequest, v1::TrainResponse> load(
            [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
              return stub->PrepareAsyncTrainStream(context, queue);
            },
            TrainRequest());
        return load.Run(kWindow, std::move(meter));
      }};
}

// With what the command-line client trains with.
Loop ClientStreamLoop(const Server& server) {
  return {.what = StreamName(),
          .server = &server,
          .who = "client library",
          .run = [&server](LoadMeter meter) -> absl::StatusOr<LoadResult> {
            ASSIGN_OR_RETURN(const Client client,
                             Client::Connect({.target = server.process->address()}));
            const auto stream = client.OpenTrainStream(
                kWindow, [&](const auto& /*request*/, const auto& /*answer*/) { meter.Count(); });
            const v1::TrainRequest request = TrainRequest();
            while (!meter.over()) RETURN_IF_ERROR(stream->Write(request));
            RETURN_IF_ERROR(stream->Finish());
            return meter.Result();
          }};
}

using Field = double LoadResult::*;

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
                     {"p99 us", MedianOf(loop, &LoadResult::p99_us)},
                     {"server CPU us", MedianOf(loop, &LoadResult::server_cpu_us)},
                     {"foreign cores", MedianOf(loop, &LoadResult::foreign_cores)}}};
}

// How the first of three loops compares with the other two.
Row RatioRow(const Loop* loops) {
  Row row{.what = loops[0].what, .who = "", .values = {}};
  for (const Loop* bare : {&loops[1], &loops[2]}) {
    const std::string to = bare == &loops[1] ? "/async" : "/callback";
    row.values.emplace_back(absl::StrCat("rate", to),
                            MedianRatio(loops[0], *bare, &LoadResult::per_second));
    row.values.emplace_back(absl::StrCat("CPU", to),
                            MedianRatio(loops[0], *bare, &LoadResult::server_cpu_us));
  }
  return row;
}

absl::Status RunRounds(const SocketOptions& options, std::vector<Loop>& loops) {
  for (int round = 0; round < options.rounds; ++round) {
    for (Loop& loop : loops) {
      ASSIGN_OR_RETURN(const LoadResult result,
                       loop.run(LoadMeter(*loop.server->process, options.time)));
      loop.results.push_back(result);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureOverTheSocket(const SocketOptions& options) {
  ASSIGN_OR_RETURN(const Server product,
                   StartServer("lazynorm", {options.server, "--listen=127.0.0.1:0",
                                            "--metrics_listen=", "--store=memory:"}));
  ASSIGN_OR_RETURN(const Server async, StartServer("bare async", {options.self, "--bare=async"}));
  ASSIGN_OR_RETURN(const Server callback,
                   StartServer("bare callback", {options.self, "--bare=callback"}));
  for (const int width : {10, 64}) {
    RETURN_IF_ERROR(CreateModel(product, absl::StrCat("mlp-", width), width));
  }
  std::vector<Loop> loops;
  for (const auto& [rows, columns] : {std::pair(1, 10), std::pair(32, 64)}) {
    for (const int in_flight : kInFlight) {
      for (const Server* server : {&product, &async, &callback}) {
        loops.push_back(PredictLoop(*server, rows, columns, in_flight));
      }
    }
  }
  const size_t predicts = loops.size();
  loops.push_back(TrainLoop(product, 1));
  loops.push_back(TrainLoop(product, kWindow));
  loops.push_back(TrainStreamLoop(product));
  loops.push_back(ClientStreamLoop(product));
  RETURN_IF_ERROR(RunRounds(options, loops));
  std::vector<Row> rows;
  for (const Loop& loop : loops) rows.push_back(ToRow(loop));
  for (size_t i = 0; i < predicts; i += 3) rows.push_back(RatioRow(&loops[i]));
  return rows;
}

}  // namespace lazynorm
