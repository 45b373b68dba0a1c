#ifndef LAZYNORM_TESTS_SERVER_CLUSTER_FIXTURE_H_
#define LAZYNORM_TESTS_SERVER_CLUSTER_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/hosting/replicas.h"
#include "tests/support/kept_port.h"
#include "tests/support/memory_cluster.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {

// Three servers over one store in memory.
class ClusterTest : public ServerFixture {
 protected:
  static constexpr char kSpec[] = "mlp { hidden: 4 normalize_input: true }";
  struct Node {
    MemoryCluster::Member* store = nullptr;
    std::unique_ptr<Server> server;
    std::unique_ptr<Connection> client;
  };

  void SetUp() override {
    for (int i = 0; i < 3; ++i) nodes_.push_back(StartNode());
    // The first is the one that keeps "m", also in a test that takes long.
    const auto holder = Ranked(*nodes_[0].store->Replicas(), "m").front().id;
    std::swap(nodes_[0], *std::find_if(nodes_.begin(), nodes_.end(), [&](const Node& node) {
                return node.store->self() == holder;
              }));
  }
  // Calls wait for a writer, and for a way to it, as long as it may take on a busy machine.
  virtual Options NodeOptions() {
    Options options = TestOptions();
    options.lease_timeout = kPatience / 2;
    options.follow_interval = absl::Milliseconds(10);
    return options;
  }
  Node StartNode(const std::string& models_dir = "") {
    const KeptPort port;
    Options options = NodeOptions();
    options.models_dir = models_dir;
    options.listen = {port.address()};
    return StartNode(options, cluster_.Join(Advertised(options)));
  }
  static Node StartNode(const Options& options, std::unique_ptr<MemoryCluster::Member> store) {
    Node node;
    node.store = store.get();
    auto server = Server::Start(options, std::move(store));
    EXPECT_TRUE(server.ok()) << server.status();
    node.server = *std::move(server);
    node.client = std::make_unique<Connection>(node.server->ports()[0]);
    return node;
  }
  Connection& a() { return *nodes_[0].client; }
  Connection& b() { return *nodes_[1].client; }
  Connection& c() { return *nodes_[2].client; }
  // A model that the first server writes and all know.
  void Make(const std::string& id) {
    ASSERT_TRUE(a().Create(id, kSpec).ok());
    for (const Node& node : nodes_) {
      ASSERT_TRUE(Soon([&] { return Has(node, id); }));
    }
  }
  // Itself: what it has not, it may ask others about.
  static bool Has(const Node& node, const std::string& id) {
    const auto list = Connection::Call(*node.client->models, &v1::ModelService::Stub::ListModels,
                                       v1::ListModelsRequest());
    return std::any_of(list->models().begin(), list->models().end(),
                       [&](const v1::Model& model) { return model.model_id() == id; });
  }
  std::string MetricOf(Node& node, const std::string& series) {
    std::swap(server_, node.server);
    std::string value = Metric(series);
    std::swap(server_, node.server);
    return value;
  }
  // Sooner or later: gauges of the cluster are set at the end of a look.
  bool Shows(Node& node, const std::string& series, const std::string& value) {
    return Soon([&] { return MetricOf(node, series) == value; });
  }
  // As a process that is killed: its models are given to nobody.
  void Kill(Node& node) {
    node.store->Lose();
    node.server = nullptr;
  }

  MemoryCluster cluster_;  // outlives the servers
  std::vector<Node> nodes_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_CLUSTER_FIXTURE_H_
