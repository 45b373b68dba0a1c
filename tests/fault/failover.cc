// lazynorm_failover: several servers over one PostgreSQL learn from callers who come through any of
// them, while one after the other is killed, stopped for a while, or loses the database. No step
// that was acknowledged may be lost or taken twice, and what the models hold is what a Learner in
// this process makes of the same requests.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/status.h"
#include "server/base/mutex.h"
#include "tests/fault/oracle.h"
#include "tests/fault/replica_set.h"

namespace lazynorm {
namespace {

// How long to wait for what must come, on a machine that may stand still for seconds.
constexpr absl::Duration kPatience = absl::Seconds(120);

struct Flags {
  std::string server;
  int rounds = 30;
  int callers = 6;
  int models = 6;
  int replicas = 3;
  uint64_t seed = 1;
  std::string lease_timeout = "3s";
  std::vector<std::string> faults = {"kill", "stop", "database"};
};

struct Times {
  std::vector<absl::Duration> all;

  std::string Summary() {
    if (all.empty()) return "none";
    std::sort(all.begin(), all.end());
    const auto text = [](absl::Duration d) {
      return absl::FormatDuration(absl::Trunc(d, absl::Milliseconds(1)));
    };
    return absl::StrCat("median ", text(all[all.size() / 2]), ", longest ", text(all.back()),
                        " of ", all.size());
  }
};

class Trial {
 public:
  Trial(Flags flags, absl::Duration lease_timeout)
      : flags_(std::move(flags)),
        at_once_(0.8 * lease_timeout),
        set_(flags_.replicas, flags_.server, flags_.lease_timeout) {}

  int Run() {
    for (Node& node : set_.nodes) {
      if (!StartServer(node)) return 1;
    }
    if (!CreateModels()) return 1;
    std::vector<std::thread> threads;
    for (int i = 0; i < flags_.callers; ++i) threads.emplace_back([this, i] { Train(i); });
    for (Node& node : set_.nodes) threads.emplace_back([this, &node] { Predict(node); });
    std::mt19937_64 random(flags_.seed);
    for (int round = 0; round < flags_.rounds && !broken_; ++round) {
      Round(flags_.faults[round % flags_.faults.size()], random);
    }
    absl::SleepFor(absl::Milliseconds(300));
    stop_ = true;
    for (std::thread& thread : threads) thread.join();
    for (int k = 0; k < flags_.models && !broken_; ++k) CheckModel(ModelName(k));
    Report();
    return broken_ || !found_.good() || predict_errors_ > 0 || diverged_ > 0 ? 1 : 0;
  }

 private:
  static std::string ModelName(int k) { return absl::StrCat("model-", k); }

  void Break(const std::string& why) {
    std::cerr << "lazynorm_failover: " << why << "\n";
    broken_ = true;
  }

  bool StartServer(Node& node) {
    const absl::Status started = set_.Start(node);
    if (!started.ok()) Break(std::string(started.message()));
    return started.ok();
  }

  // Spread over the servers.
  bool CreateModels() {
    for (int k = 0; k < flags_.models; ++k) {
      const absl::Status created =
          ReplicaSet::Create(set_.nodes[k % set_.nodes.size()], ModelName(k));
      if (!created.ok()) Break(std::string(created.message()));
    }
    return !broken_;
  }

  // Does harm, and takes the time until a Train of a model that was hit is accepted again.
  void Round(const std::string& fault, std::mt19937_64& random) {
    absl::SleepFor(absl::Milliseconds(100 + random() % 400));
    const std::string model = ModelName(static_cast<int>(random() % flags_.models));
    Node* const holder = set_.HolderOf(model);
    if (holder == nullptr) return;  // it is being handed over
    const absl::Time begin = absl::Now();
    if (fault == "database") {
      set_.database.Stop(random() % 2 == 0 ? SIGQUIT : SIGINT);
      absl::SleepFor(absl::Milliseconds(random() % 500));
      set_.database.Start();
      const absl::Time back = absl::Now();
      ProbeUntilTrained(*holder, model);
      without_writer_[fault].all.push_back(absl::Now() - back);
      return;
    }
    ++holder->faults;
    if (fault == "kill") {
      holder->process.reset();
    } else {
      kill(holder->process->pid(), SIGSTOP);
    }
    ProbeUntilTrained(set_.AnotherThan(*holder), model);
    without_writer_[fault].all.push_back(absl::Now() - begin);
    if (fault == "kill") {
      if (!StartServer(*holder)) return;
    } else {
      kill(holder->process->pid(), SIGCONT);
    }
    // What it is asked while it wakes up may have waited too long already.
    absl::SleepFor(absl::Milliseconds(300));
    if (PredictionAt(*holder, model, 0).empty()) return Break("a server does not come back");
    ++holder->faults;
  }

  void ProbeUntilTrained(Node& via, const std::string& model) {
    std::mt19937_64 random(probes_);
    Acknowledge(via, {TrialRequest(model, absl::StrCat("probe-", probes_++), random), {}}, 0);
  }

  // Sends a request again and again until it is acknowledged, through the servers in turn if
  // `spread` is not 0.
  void Acknowledge(Node& first, Step step, int spread) {
    Node* node = &first;
    const absl::Time limit = absl::Now() + kPatience;
    while (!broken_) {
      grpc::ClientContext context;
      SetTimeout(context, absl::Seconds(2));
      const grpc::Status status = node->training->Train(&context, step.request, &step.answer);
      if (status.ok()) break;
      ++retries_;
      const bool expected = IsRetryable(FromGrpc(status)) ||
                            status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
      if (!expected || absl::Now() > limit) {
        Break(absl::StrCat("Train: ", status.error_code(), " ", status.error_message()));
      }
      if (spread != 0) node = &set_.nodes[(node - set_.nodes.data() + 1) % set_.nodes.size()];
      absl::SleepFor(absl::Milliseconds(5));
    }
    if (broken_) return;
    replayed_ += step.answer.replayed();
    MutexLock lock(&mutex_);
    acknowledged_[step.request.model()].push_back(std::move(step));
  }

  void Train(int caller) {
    std::mt19937_64 random(flags_.seed * 1000 + caller);
    for (int i = 0; !stop_ && !broken_; ++i) {
      const std::string model = ModelName((caller + i) % flags_.models);
      Node& node = set_.nodes[random() % set_.nodes.size()];
      Acknowledge(node, {TrialRequest(model, absl::StrCat(caller, "-", i), random), {}}, 1);
    }
  }

  // A server that nobody harms answers, whatever happens to the others and to the database, and
  // does not wait for who wrote the model to be replaced.
  void Predict(Node& node) {
    std::mt19937_64 random(7);
    v1::PredictRequest request;
    *request.mutable_features() = TrialRequest("", "", random).features();
    for (int i = 0; !stop_ && !broken_; ++i) {
      const int faults = node.faults;
      request.set_model(ModelName(i % flags_.models));
      grpc::ClientContext context;
      SetTimeout(context, at_once_);
      v1::PredictResponse response;
      const grpc::Status status = node.prediction->Predict(&context, request, &response);
      ++predictions_;
      if (!status.ok() && !node.harmed() && node.faults == faults) {
        ++predict_errors_;
        std::cerr << "Predict: " << status.error_code() << " " << status.error_message() << "\n";
      }
      absl::SleepFor(absl::Milliseconds(2));
    }
  }

  // What each server predicts once it has come to that step; "" if it does not.
  std::string PredictionAt(Node& node, const std::string& model, int64_t step) {
    std::mt19937_64 random(7);
    v1::PredictRequest request;
    request.set_model(model);
    *request.mutable_features() = TrialRequest("", "", random).features();
    request.set_min_step(step);
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    SetTimeout(context, kPatience);
    v1::PredictResponse response;
    const grpc::Status status = node.prediction->Predict(&context, request, &response);
    return status.ok() ? response.SerializeAsString() : "";
  }

  void CheckModel(const std::string& name) {
    v1::GetModelStateRequest request;
    request.set_model(name);
    v1::GetModelStateResponse state;
    const absl::Time limit = absl::Now() + kPatience;
    while (true) {
      grpc::ClientContext context;
      SetTimeout(context, absl::Seconds(20));
      const grpc::Status status = set_.nodes[0].models->GetModelState(&context, request, &state);
      if (status.ok()) break;
      if (absl::Now() > limit) return Break(status.error_message());
      absl::SleepFor(absl::Milliseconds(20));
    }
    found_.Add(HoldAgainstOracle(acknowledged_[name], state));
    const std::string first = PredictionAt(set_.nodes[0], name, state.step());
    for (Node& node : set_.nodes) {
      if (first.empty() || PredictionAt(node, name, state.step()) != first) ++diverged_;
    }
  }

  void Report() {
    std::cout << "steps acknowledged         " << found_.steps << "\n"
              << "sent again after a failure " << retries_ << ", of which known already "
              << replayed_ << "\n"
              << "acknowledged and lost      " << found_.lost << "\n"
              << "trained twice              " << found_.twice << "\n"
              << "results or states that differ from an uninterrupted learner's "
              << found_.different << "\n"
              << "servers that predict otherwise than the first " << diverged_ << "\n"
              << "predictions                " << predictions_
              << ", errors of servers that nobody harmed " << predict_errors_ << "\n";
    for (auto& [fault, times] : without_writer_) {
      std::cout << "without a writer, " << fault << ": " << times.Summary() << "\n";
    }
  }

  const Flags flags_;
  const absl::Duration at_once_;  // well below a lease, and well above what a machine stands still
  ReplicaSet set_;
  std::atomic<bool> stop_ = false, broken_ = false;
  std::atomic<int64_t> retries_ = 0, replayed_ = 0, predictions_ = 0, predict_errors_ = 0;
  int64_t probes_ = 0, diverged_ = 0;
  std::map<std::string, Times> without_writer_;
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
  CLI::App app("Harms servers that share a PostgreSQL, and asks for every step they acknowledged.");
  app.add_option("--rounds", flags.rounds)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--callers", flags.callers)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--models", flags.models)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--replicas", flags.replicas)->check(CLI::Range(2, 9))->capture_default_str();
  app.add_option("--seed", flags.seed)->capture_default_str();
  app.add_option("--lease_timeout", flags.lease_timeout)->capture_default_str();
  app.add_option("--faults", flags.faults, "in turn: kill, stop, database")
      ->delimiter(',')
      ->check(CLI::IsMember({"kill", "stop", "database"}))
      ->capture_default_str();
  app.add_option("--server", flags.server, "the lazynormd to harm")->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);
  absl::Duration lease_timeout;
  if (!absl::ParseDuration(flags.lease_timeout, &lease_timeout)) {
    std::cerr << "--lease_timeout: expected a duration like 3s\n";
    return 1;
  }
  return Trial(std::move(flags), lease_timeout).Run();
}
