// What durability costs through a server, and how long a server takes to be back.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/client.h"
#include "model/status_macros.h"
#include "tests/bench/child.h"
#include "tests/bench/median.h"
#include "tests/bench/store/append_log.h"
#include "tests/bench/store/slices.h"
#include "tests/bench/store/store_bench.h"

namespace lazynorm {
namespace {

constexpr char kModel[] = "bench";

v1::CreateModelRequest SmallModel(int hidden_layers = 0) {
  v1::CreateModelRequest request;
  request.set_model_id(kModel);
  request.mutable_spec()->mutable_mlp()->set_normalize_input(true);
  for (int i = 0; i < hidden_layers; ++i) request.mutable_spec()->mutable_mlp()->add_hidden(64);
  return request;
}

v1::TrainRequest Request(int rows, int columns) {
  v1::TrainRequest request;
  request.set_model(kModel);
  request.mutable_features()->set_rows(rows);
  request.mutable_features()->set_columns(columns);
  request.mutable_targets()->set_rows(rows);
  request.mutable_targets()->set_columns(1);
  for (int i = 0; i < rows * columns; ++i) {
    request.mutable_features()->add_values(static_cast<float>(i * 7 % 11));
  }
  for (int i = 0; i < rows; ++i) {
    request.mutable_targets()->add_values(static_cast<float>(i * 5 % 13));
  }
  return request;
}

// A server on a free port, with a client of it.
struct Served {
  std::unique_ptr<Child> server;
  std::optional<Client> client;
};

absl::StatusOr<Served> Serve(const StoreBenchOptions& options, std::vector<std::string> flags) {
  std::vector<std::string> command = {options.server, "--listen=127.0.0.1:0", "--metrics_listen="};
  command.insert(command.end(), flags.begin(), flags.end());
  Served served;
  ASSIGN_OR_RETURN(served.server, Child::Start(command));
  ASSIGN_OR_RETURN(served.client, Client::Connect({.target = served.server->address()}));
  return served;
}

std::function<void(int)> TrainOn(const Client& client, const v1::TrainRequest& request) {
  return [&client, &request](int) {
    const auto trained = client.Train(request);
    if (trained.ok()) return;
    fprintf(stderr, "Train: %s\n", std::string(trained.status().message()).c_str());
    abort();
  };
}

std::string DataIn(const BenchFolder& folder) {
  return absl::StrCat("--data_dir=", folder.path(), "/data");
}

// The time from exec to serving, on what `folder` holds.
absl::StatusOr<double> SecondsToServing(const StoreBenchOptions& options,
                                        const std::vector<std::string>& flags) {
  const absl::Time begin = absl::Now();
  RETURN_IF_ERROR(Serve(options, flags).status());
  return absl::ToDoubleSeconds(absl::Now() - begin);
}

absl::Status MakeThousandModels(const StoreBenchOptions& options, const BenchFolder& folder) {
  const std::string specs = folder.path() + "/specs";
  std::filesystem::create_directories(specs);
  for (int i = 0; i < 1000; ++i) {
    std::ofstream(absl::StrCat(specs, "/model-", i, ".textproto"))
        << "mlp { hidden: 64 hidden: 64 normalize_input: true } in_features: 10";
  }
  ASSIGN_OR_RETURN(const Served served, Serve(options, {DataIn(folder), "--models_dir=" + specs}));
  v1::TrainRequest request = Request(32, 10);
  for (int i = 0; i < 1000; ++i) {
    request.set_model(absl::StrCat("model-", i));
    RETURN_IF_ERROR(served.client->Train(request).status());
  }
  return absl::OkStatus();
}

absl::Status MakeLongJournal(const StoreBenchOptions& options, const BenchFolder& folder) {
  constexpr int kSteps = 100'000, kCallers = 64;
  // Never a snapshot: all of it is to be repeated.
  ASSIGN_OR_RETURN(const Served served, Serve(options, {DataIn(folder), "--replay_budget=1h"}));
  RETURN_IF_ERROR(served.client->CreateModel(SmallModel(2)).status());
  const v1::TrainRequest request = Request(4, 10);
  std::atomic<int> left = kSteps;
  RunSlice(kCallers, TrainOn(*served.client, request), [&] { return left-- <= 0; });
  return absl::OkStatus();
}

}  // namespace

BenchFolder::BenchFolder(const std::string& where) : path_(where + "/lazynorm-bench.XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) path_.clear();
}

BenchFolder::~BenchFolder() {
  if (!path_.empty()) std::filesystem::remove_all(path_);
}

absl::StatusOr<std::vector<Row>> MeasureTrain(const StoreBenchOptions& options) {
  std::vector<Row> rows;
  for (const auto& [count, columns] : {std::pair(32, 10), std::pair(256, 63)}) {
    const v1::TrainRequest request = Request(count, columns);
    const std::string record = request.SerializeAsString();
    for (const int callers : {1, 8, 64}) {
      const BenchFolder folder(options.folder);
      ASSIGN_OR_RETURN(const Served kept, Serve(options, {DataIn(folder)}));
      ASSIGN_OR_RETURN(const Served loose, Serve(options, {"--store=memory:"}));
      ASSIGN_OR_RETURN(const auto file, OpenPlainFile(folder.path()));
      Comparison with_file, with_memory;
      for (const Served* served : {&kept, &loose}) {
        RETURN_IF_ERROR(served->client->CreateModel(SmallModel()).status());
        RunSlice(callers, TrainOn(*served->client, request), options.slice);
      }
      for (int round = 0; round < options.rounds; ++round) {
        const Slice durable = RunSlice(callers, TrainOn(*kept.client, request), options.slice);
        with_file.Add(durable, RunSlice(
                                   callers, [&](int) { file->Append(0, record); }, options.slice));
        with_memory.Add(durable, RunSlice(callers, TrainOn(*loose.client, request), options.slice));
      }
      const std::string what = absl::StrCat("Train ", count, "x", columns, ", ", callers,
                                            callers == 1 ? " caller" : " callers");
      with_file.AddTo(what, "durable", "plain file", &rows);
      with_memory.AddTo(what, "durable", "memory:", &rows);
    }
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> MeasureRestart(const StoreBenchOptions& options) {
  std::vector<Row> rows;
  const std::pair<const char*, absl::Status (*)(const StoreBenchOptions&, const BenchFolder&)>
      cases[] = {{"1,000 models, trained", MakeThousandModels},
                 {"a journal of 100,000 steps", MakeLongJournal}};
  for (const auto& [what, make] : cases) {
    const BenchFolder folder(options.folder);
    RETURN_IF_ERROR(make(options, folder));
    std::vector<double> seconds;
    for (int round = 0; round < options.rounds; ++round) {
      ASSIGN_OR_RETURN(seconds.emplace_back(),
                       SecondsToServing(options, {DataIn(folder), "--replay_budget=1h"}));
    }
    rows.push_back({what,
                    "restart",
                    {{"s to serving", Median(seconds)}, {"longest s", Quantile(seconds, 1)}}});
  }
  return rows;
}

}  // namespace lazynorm
