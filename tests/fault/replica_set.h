#ifndef LAZYNORM_TESTS_FAULT_REPLICA_SET_H_
#define LAZYNORM_TESTS_FAULT_REPLICA_SET_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lazynorm/v1/model_service.grpc.pb.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "tests/bench/child.h"
#include "tests/fault/oracle.h"
#include "tests/support/kept_port.h"
#include "tests/support/postgres_server.h"

namespace lazynorm {

// One lazynormd and how to reach it.
struct Node {
  KeptPort port;
  std::string address;
  std::unique_ptr<Child> process;
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::TrainingService::Stub> training;
  std::unique_ptr<v1::PredictionService::Stub> prediction;
  // Odd while it is being harmed; what began and ended with the same even number met no fault.
  std::atomic<int> faults = 0;

  bool harmed() const { return faults % 2 == 1; }
};

inline void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

// Several lazynormd over a PostgreSQL of their own, on the loopback.
class ReplicaSet {
 public:
  ReplicaSet(int replicas, std::string program, std::string lease_timeout)
      : nodes(replicas), program_(std::move(program)), lease_timeout_(std::move(lease_timeout)) {
    uri_ = database.NewDatabase();
    for (Node& node : nodes) Connect(node);
  }

  // Serves when this returns.
  absl::Status Start(Node& node) {
    auto started =
        Child::Start({program_, absl::StrCat("--listen=", node.address),
                      "--metrics_listen=", absl::StrCat("--store=", uri_),
                      absl::StrCat("--lease_timeout=", lease_timeout_), "--compute_threads=2",
                      // Snapshots come often, so that faults meet them too.
                      "--replay_budget=100ms"});
    if (!started.ok()) return started.status();
    node.process = *std::move(started);
    return absl::OkStatus();
  }

  // A model of TrialSpec's, its width known, made through that node; that a server loses its lease
  // meanwhile, as one does that gets no time to run, is borne.
  static absl::Status Create(Node& node, const std::string& id) {
    v1::CreateModelRequest request;
    request.set_model_id(id);
    *request.mutable_spec() = TrialSpec();
    request.mutable_spec()->set_in_features(5);
    const absl::Time limit = absl::Now() + absl::Seconds(120);
    while (true) {
      grpc::ClientContext context;
      context.set_wait_for_ready(true);
      SetTimeout(context, absl::Seconds(20));
      v1::Model model;
      const grpc::Status status = node.models->CreateModel(&context, request, &model);
      const bool there = status.error_code() == grpc::StatusCode::ALREADY_EXISTS;
      if (status.ok() || there) return absl::OkStatus();
      if (absl::Now() > limit) return absl::UnavailableError(status.error_message());
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  // Who writes a model, as the database says; null for nobody.
  Node* HolderOf(const std::string& model) {
    const std::string address = PostgresServer::Query(
        uri_, absl::StrCat("select l.address from lazynorm.model m join lazynorm.living l on l.id "
                           "= m.holder where m.name = '",
                           model, "' and not m.deleted"));
    for (Node& node : nodes) {
      if (node.address == address) return &node;
    }
    return nullptr;
  }

  Node& AnotherThan(const Node& than) { return &nodes[0] == &than ? nodes.back() : nodes[0]; }

  PostgresServer database;
  std::vector<Node> nodes;

 private:
  static void Connect(Node& node) {
    node.address = node.port.address();
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
    const auto channel =
        grpc::CreateCustomChannel(node.address, grpc::InsecureChannelCredentials(), arguments);
    node.models = v1::ModelService::NewStub(channel);
    node.training = v1::TrainingService::NewStub(channel);
    node.prediction = v1::PredictionService::NewStub(channel);
  }

  const std::string program_, lease_timeout_;
  std::string uri_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_FAULT_REPLICA_SET_H_
