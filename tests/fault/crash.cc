// lazynorm_crash: kills a server that learns, again and again, and asks for every step it has
// acknowledged. What it must hold is what a Learner in this process makes of the same requests.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/status.h"
#include "lazynorm/v1/model_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "server/base/mutex.h"
#include "tests/bench/child.h"
#include "tests/fault/oracle.h"

namespace lazynorm {
namespace {

struct Flags {
  std::string server;
  int rounds = 300;
  int callers = 6;
  int models = 3;
  uint64_t seed = 1;
};

class Trial {
 public:
  explicit Trial(Flags flags) : flags_(std::move(flags)) {
    std::string name = (std::filesystem::temp_directory_path() / "lazynorm-crash.XXXXXX").string();
    folder_ = mkdtemp(name.data());
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 30);
    channel_ = grpc::CreateCustomChannel(absl::StrCat("unix:", folder_, "/socket"),
                                         grpc::InsecureChannelCredentials(), arguments);
    models_ = v1::ModelService::NewStub(channel_);
    training_ = v1::TrainingService::NewStub(channel_);
  }
  ~Trial() { std::filesystem::remove_all(folder_); }

  int Run() {
    if (!StartServer() || !CreateModels()) return 1;
    std::vector<std::thread> callers;
    for (int i = 0; i < flags_.callers; ++i) callers.emplace_back([this, i] { Call(i); });
    std::mt19937_64 random(flags_.seed);
    for (int round = 0; round < flags_.rounds && !broken_; ++round) {
      absl::SleepFor(absl::Milliseconds(5 + random() % 100));
      server_.reset();  // kill -9
      if (!StartServer()) break;
      CheckSteps();
    }
    stop_ = true;
    for (std::thread& caller : callers) caller.join();
    for (int k = 0; k < flags_.models && !broken_; ++k) CheckModel(ModelName(k));
    Report();
    return broken_ || lost_ > 0 || !found_.good() ? 1 : 0;
  }

 private:
  static std::string ModelName(int k) { return absl::StrCat("model-", k); }

  void Break(const std::string& why) {
    std::cerr << "lazynorm_crash: " << why << "\n";
    broken_ = true;
  }

  bool StartServer() {
    const absl::Time begin = absl::Now();
    auto started = Child::Start({flags_.server, absl::StrCat("--listen=unix:", folder_, "/socket"),
                                 "--metrics_listen=", absl::StrCat("--data_dir=", folder_, "/data"),
                                 // Snapshots come often, so that kills meet them too.
                                 "--replay_budget=20ms"});
    if (!started.ok()) {
      Break(std::string(started.status().message()));
      return false;
    }
    server_ = *std::move(started);
    starts_.push_back(absl::Now() - begin);
    return true;
  }

  bool CreateModels() {
    for (int k = 0; k < flags_.models; ++k) {
      grpc::ClientContext context;
      context.set_wait_for_ready(true);
      v1::CreateModelRequest request;
      request.set_model_id(ModelName(k));
      *request.mutable_spec() = TrialSpec();
      v1::Model model;
      const grpc::Status status = models_->CreateModel(&context, request, &model);
      if (!status.ok()) Break(status.error_message());
    }
    return !broken_;
  }

  // Trains one request after the other, each until it is acknowledged.
  void Call(int caller) {
    std::mt19937_64 random(flags_.seed * 1000 + caller);
    const std::string model = ModelName(caller % flags_.models);
    for (int i = 0; !stop_ && !broken_; ++i) {
      Step step{TrialRequest(model, absl::StrCat(caller, "-", i), random), {}};
      while (!broken_) {
        grpc::ClientContext context;
        context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(120)));
        context.set_wait_for_ready(true);
        const grpc::Status status = training_->Train(&context, step.request, &step.answer);
        if (status.ok()) break;
        ++retries_;
        if (!IsRetryable(FromGrpc(status))) Break(status.error_message());
      }
      replayed_ += step.answer.replayed();
      MutexLock lock(&mutex_);
      acknowledged_[model].push_back(std::move(step));
    }
  }

  std::optional<v1::Model> Get(const std::string& name) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(120)));
    context.set_wait_for_ready(true);
    v1::GetModelRequest request;
    request.set_model(name);
    v1::Model model;
    const grpc::Status status = models_->GetModel(&context, request, &model);
    if (status.ok()) return model;
    Break(status.error_message());
    return std::nullopt;
  }

  // No model may stand behind what it has acknowledged.
  void CheckSteps() {
    for (int k = 0; k < flags_.models; ++k) {
      int64_t newest = 0;
      {
        MutexLock lock(&mutex_);
        for (const Step& step : acknowledged_[ModelName(k)]) {
          newest = std::max(newest, step.answer.step());
        }
      }
      const auto model = Get(ModelName(k));
      if (model.has_value() && model->step() < newest) lost_ += newest - model->step();
    }
  }

  // All steps, in order, give the state that the server has.
  void CheckModel(const std::string& name) {
    v1::GetModelStateResponse state;
    grpc::ClientContext context;
    v1::GetModelStateRequest request;
    request.set_model(name);
    const grpc::Status status = models_->GetModelState(&context, request, &state);
    if (!status.ok()) return Break(status.error_message());
    found_.Add(HoldAgainstOracle(acknowledged_[name], state));
  }

  void Report() {
    std::sort(starts_.begin(), starts_.end());
    std::cout << "rounds of kill -9          " << starts_.size() - 1 << "\n"
              << "steps acknowledged         " << found_.steps << "\n"
              << "sent again after a failure " << retries_ << ", of which known already "
              << replayed_ << "\n"
              << "acknowledged and lost      " << lost_ + found_.lost << "\n"
              << "trained twice              " << found_.twice << "\n"
              << "results or states that differ from an uninterrupted learner's "
              << found_.different << "\n"
              << "start to serving           median "
              << absl::FormatDuration(
                     absl::Trunc(starts_[starts_.size() / 2], absl::Microseconds(100)))
              << ", longest "
              << absl::FormatDuration(absl::Trunc(starts_.back(), absl::Microseconds(100))) << "\n";
  }

  const Flags flags_;
  std::string folder_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::TrainingService::Stub> training_;
  std::unique_ptr<Child> server_;
  std::vector<absl::Duration> starts_;
  std::atomic<bool> stop_ = false, broken_ = false;
  std::atomic<int64_t> retries_ = 0, replayed_ = 0;
  int64_t lost_ = 0;  // seen between the rounds
  Findings found_;
  Mutex mutex_;
  std::map<std::string, std::vector<Step>> acknowledged_;  // by model
};

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  using namespace lazynorm;
  Flags flags;
  flags.server =
      (std::filesystem::canonical("/proc/self/exe").parent_path() / "lazynormd").string();
  CLI::App app(
      "Kills a server that learns, again and again, and asks for every step it acknowledged.");
  app.add_option("--rounds", flags.rounds)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--callers", flags.callers)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--models", flags.models)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", flags.seed)->capture_default_str();
  app.add_option("--server", flags.server, "the lazynormd to kill")->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);
  return Trial(flags).Run();
}
