// lazynorm_replica_bench: what several servers over one PostgreSQL cost. Not a test; prints how
// long a Train takes at the replica that writes the model and through another one, and what a
// Predict and a followed step cost each replica of 1, 2 and 3.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/fault/replica_set.h"

namespace lazynorm {
namespace {

constexpr int kCalls = 1500;

double Micros(absl::Duration d) {
  return absl::ToDoubleMicroseconds(d);
}

absl::Duration Median(std::vector<absl::Duration> all) {
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

absl::Duration Train(Node& node, const std::string& model, std::mt19937_64& random) {
  const v1::TrainRequest request = TrialRequest(model, "", random);
  const absl::Time begin = absl::Now();
  grpc::ClientContext context;
  v1::TrainResponse response;
  if (!node.training->Train(&context, request, &response).ok()) fprintf(stderr, "Train failed\n");
  return absl::Now() - begin;
}

absl::Duration Predict(Node& node, const std::string& model, std::mt19937_64& random) {
  v1::PredictRequest request;
  request.set_model(model);
  *request.mutable_features() = TrialRequest("", "", random).features();
  const absl::Time begin = absl::Now();
  grpc::ClientContext context;
  v1::PredictResponse response;
  if (!node.prediction->Predict(&context, request, &response).ok()) {
    fprintf(stderr, "Predict failed\n");
  }
  return absl::Now() - begin;
}

std::vector<absl::Duration> CpuTimes(const ReplicaSet& set) {
  std::vector<absl::Duration> times;
  for (const Node& node : set.nodes) times.push_back(node.process->CpuTime());
  return times;
}

// What each replica has spent since, a call or a second.
void PrintCpu(const char* what, const ReplicaSet& set, const std::vector<absl::Duration>& before,
              double divisor) {
  printf("  %s:", what);
  for (size_t i = 0; i < set.nodes.size(); ++i) {
    printf(" %.0f us", Micros(set.nodes[i].process->CpuTime() - before[i]) / divisor);
  }
  printf("\n");
}

void Measure(int replicas, const std::string& program) {
  ReplicaSet set(replicas, program, "3s");
  for (Node& node : set.nodes) {
    if (!set.Start(node).ok()) return;
  }
  if (!ReplicaSet::Create(set.nodes[0], "m").ok()) return;
  std::mt19937_64 random(1);
  Node& writer = set.nodes[0];
  Node& other = set.nodes.back();
  for (int i = 0; i < 100; ++i) {
    Train(i % 2 == 0 ? writer : other, "m", random);
    for (Node& node : set.nodes) Predict(node, "m", random);
  }
  printf("%d replica%s, CPU time by replica, the writer first\n", replicas,
         replicas > 1 ? "s" : "");
  auto before = CpuTimes(set);
  absl::SleepFor(absl::Seconds(2));
  PrintCpu("idle, a second", set, before, 2);
  std::vector<absl::Duration> predicts, direct, taken;
  before = CpuTimes(set);
  for (int i = 0; i < kCalls; ++i) {
    for (Node& node : set.nodes) predicts.push_back(Predict(node, "m", random));
  }
  PrintCpu("a Predict at each", set, before, kCalls);
  before = CpuTimes(set);
  for (int i = 0; i < kCalls; ++i) direct.push_back(Train(writer, "m", random));
  PrintCpu("a Train at the writer", set, before, kCalls);
  if (replicas > 1) direct.clear();  // those that are compared are taken in turn
  for (int i = 0; replicas > 1 && i < kCalls; ++i) {
    taken.push_back(Train(other, "m", random));
    direct.push_back(Train(writer, "m", random));
  }
  printf("  median: Predict %.0f us, Train at the writer %.0f us", Micros(Median(predicts)),
         Micros(Median(direct)));
  if (!taken.empty()) printf(", through another replica %.0f us", Micros(Median(taken)));
  printf("\n");
  fflush(stdout);  // what forks next would print it again
}

}  // namespace
}  // namespace lazynorm

int main() {
  const auto program =
      (std::filesystem::canonical("/proc/self/exe").parent_path() / "lazynormd").string();
  for (int replicas = 1; replicas <= 3; ++replicas) lazynorm::Measure(replicas, program);
  return 0;
}
