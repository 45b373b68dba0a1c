#include "server/hosting/replicas.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/server/hosting/testing.h"
#include "tests/support/memory_cluster.h"

namespace lazynorm {
namespace {

std::vector<Replica> Named(const std::vector<std::string>& addresses) {
  std::vector<Replica> replicas;
  for (const std::string& address : addresses) {
    replicas.push_back({static_cast<int64_t>(replicas.size()) + 1, address});
  }
  return replicas;
}

TEST(RankedTest, SpreadsEvenlyAndMovesOnlyWhatItMust) {
  constexpr int kModels = 3000;
  const std::vector<Replica> three = Named({"a:1", "b:1", "c:1"});
  const std::vector<Replica> two = {three[0], three[2]};
  std::map<std::string, int> counts;
  for (int i = 0; i < kModels; ++i) {
    const std::string model = absl::StrCat("m", i);
    const std::vector<Replica> ranked = Ranked(three, model);
    ++counts[ranked[0].address];
    const std::string without_b = Ranked(two, model)[0].address;
    const Replica& expected = ranked[0].address == "b:1" ? ranked[1] : ranked[0];
    EXPECT_EQ(without_b, expected.address) << model;
  }
  for (const auto& [address, count] : counts) EXPECT_NEAR(count, kModels / 3, 100) << address;
}

TEST(RankedTest, DependsOnAddressesAndNotOnIdsOrOrder) {
  std::vector<Replica> others = {{9, "c:1"}, {7, "a:1"}, {8, "b:1"}};
  for (int i = 0; i < 100; ++i) {
    const std::string model = absl::StrCat("m", i);
    EXPECT_EQ(Ranked(Named({"a:1", "b:1", "c:1"}), model)[0].address,
              Ranked(others, model)[0].address);
  }
}

// What one of several lazynormd has, but for the network.
class Process {
 public:
  Process(MemoryCluster& cluster, const std::string& address, ReplicasOptions options)
      : store(cluster.Join(address)),
        registry({.limits = {.max_width = 8, .max_parameters = 100},
                  .hosting = {.trainers = &executor_,
                              .predictors = &executor_,
                              .followers = &executor_,
                              .clock = &clock_,
                              .store = store.get()}},
                 metrics),
        replicas(std::make_unique<Replicas>(registry, executor_, metrics, options)) {
    EXPECT_TRUE(registry.Recover(false).ok());
    replicas->Start(nullptr);
  }
  ~Process() {
    replicas = nullptr;
    registry.Flush();
    executor_.Stop();
  }

  std::shared_ptr<HostedModel> Model(const std::string& id) const {
    auto model = registry.Find(id);
    return model.ok() ? *model : nullptr;
  }
  bool Writes(const std::string& id) const {
    const auto model = Model(id);
    return model != nullptr && model->writes();
  }
  bool Follows(const std::string& id) const {
    const auto model = Model(id);
    return model != nullptr && !model->writes();
  }
  int64_t Step(const std::string& id) const {
    const auto model = Model(id);
    return model == nullptr ? -1 : model->view()->step;
  }
  // One step; rows of that number.
  absl::StatusOr<StepResult> Train(const std::string& id, float number,
                                   absl::string_view request_id = "") {
    const Rows rows(number);
    Answers answers;
    Model(id)->Submit(
        {.command = rows.command(request_id), .done = answers.For(0), .chain = nullptr});
    return answers.Wait(1)[0].result;
  }
  uint64_t StateHash(const std::string& id) {
    uint64_t hash = 0;
    std::promise<void> read;
    Model(id)->Inspect([&](const Learner& learner) { hash = learner.StateHash(); },
                       [&](const absl::Status&) { read.set_value(); });
    read.get_future().wait();
    return hash;
  }
  // Returns after a look that begins from now on.
  void AwaitLook() {
    std::promise<void> looked;
    replicas->AfterLook([&] { looked.set_value(); });
    looked.get_future().wait();
  }
  double Lag(const std::string& id) {
    const std::string text = metrics.Expose();
    const std::string series = absl::StrCat("lazynorm_replica_lag_seconds{model=\"", id, "\"} ");
    const size_t at = text.find(series);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size()));
  }

  SetClock clock_;
  Metrics metrics{"test", "v3"};
  std::unique_ptr<MemoryCluster::Member> store;
  Executor executor_{2};
  Registry registry;
  std::unique_ptr<Replicas> replicas;
};

class ReplicasTest : public testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::err); }

  Process& Join(const std::string& address) {
    return *processes_.emplace_back(std::make_unique<Process>(cluster_, address, options_));
  }
  // A model of the first process, which has taken that many steps.
  void Make(const std::string& id, int steps) {
    ASSERT_TRUE(processes_[0]->registry.Create(id, SmallSpec(), {}).ok());
    for (int i = 0; i < steps; ++i) {
      ASSERT_TRUE(processes_[0]->Train(id, static_cast<float>(i)).ok());
    }
  }

  // Nothing moves but what a test moves.
  ReplicasOptions options_ = {.interval = absl::Milliseconds(5), .settle = absl::Hours(1)};
  MemoryCluster cluster_;
  std::deque<std::unique_ptr<Process>> processes_;
};

TEST_F(ReplicasTest, OthersFollowWhatOneWrites) {
  Process& a = Join("a:1");
  Make("m", 3);
  Process& b = Join("b:1");  // reads it at its start
  EXPECT_TRUE(a.Writes("m"));
  EXPECT_TRUE(b.Follows("m"));
  Make("n", 2);  // hears of it
  ASSERT_TRUE(a.Train("m", 3).ok());
  ASSERT_TRUE(Soon([&] { return b.Step("m") == 4 && b.Step("n") == 2; }));
  EXPECT_EQ(a.StateHash("m"), b.StateHash("m"));
  EXPECT_EQ(a.StateHash("n"), b.StateHash("n"));
  ASSERT_TRUE(Soon([&] { return a.Lag("m") == 0 && b.Lag("m") == 0; }));
  EXPECT_EQ(b.replicas->WriterOf("m").address, "a:1");
  EXPECT_FALSE(b.replicas->WriterOf("m").here);
  EXPECT_TRUE(a.replicas->WriterOf("m").here);
}

TEST_F(ReplicasTest, AFollowerTakesNoCommands) {
  Join("a:1");
  Make("m", 1);
  Process& b = Join("b:1");
  const auto refused = b.Train("m", 1);
  EXPECT_TRUE(IsNoWriter(refused.status())) << refused.status();
  EXPECT_EQ(b.Step("m"), 1);
}

TEST_F(ReplicasTest, ADeadReplicasModelsAreTakenAndOnlyWhatIsNewIsRead) {
  Process& a = Join("a:1");
  Make("m", 50);
  Process& b = Join("b:1");
  ASSERT_TRUE(Soon([&] { return b.Step("m") == 50; }));
  const uint64_t hash = a.StateHash("m");
  const int64_t read = b.store->records_read();
  a.replicas->Stop();
  a.store->Lose();
  ASSERT_TRUE(Soon([&] { return b.Writes("m"); }));
  EXPECT_EQ(b.StateHash("m"), hash);
  EXPECT_EQ(b.store->records_read(), read);
  const auto next = b.Train("m", 50);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->step, 51);
}

TEST_F(ReplicasTest, AWriterThatWasPausedLosesWhatItLearnedAloneAndFollows) {
  Process& a = Join("a:1");
  Make("m", 5);
  Process& b = Join("b:1");
  a.replicas->Stop();  // a sleeps
  a.store->Lose();
  ASSERT_TRUE(Soon([&] { return b.Writes("m"); }));
  ASSERT_TRUE(b.Train("m", 100).ok());
  EXPECT_TRUE(a.Writes("m"));  // so it believes
  const auto late = a.Train("m", 200);
  EXPECT_TRUE(IsNoWriter(late.status())) << late.status();
  EXPECT_FALSE(a.Writes("m"));
  a.Model("m")->CatchUp();
  ASSERT_TRUE(Soon([&] { return a.Step("m") == 6; }));
  EXPECT_EQ(a.StateHash("m"), b.StateHash("m"));
}

TEST_F(ReplicasTest, AReplicaThatWasTakenForDeadComesBackAsAnotherOne) {
  Process& a = Join("a:1");
  Make("m", 2);
  Process& b = Join("b:1");
  a.store->Lose();
  ASSERT_TRUE(Soon([&] { return b.Writes("m") && a.Follows("m"); }));
  a.store->ComeBack();
  ASSERT_TRUE(b.Train("m", 2).ok());
  ASSERT_TRUE(Soon([&] { return a.Step("m") == 3; }));
  b.replicas->Stop();
  b.store->Lose();
  ASSERT_TRUE(Soon([&] { return a.Writes("m"); }));
  EXPECT_EQ(a.Train("m", 3)->step, 4);
}

TEST_F(ReplicasTest, ARetryAfterAFailoverTrainsOnce) {
  Process& a = Join("a:1");
  Make("m", 2);
  Process& b = Join("b:1");
  const auto first = a.Train("m", 7, "r");
  ASSERT_TRUE(first.ok());
  a.replicas->Stop();
  a.store->Lose();
  ASSERT_TRUE(Soon([&] { return b.Writes("m"); }));
  const auto again = b.Train("m", 7, "r");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(again->step, first->step);
  EXPECT_EQ(again->loss, first->loss);
  EXPECT_EQ(b.Step("m"), 3);
}

TEST_F(ReplicasTest, WhoWaitsForAStepHasItWithoutWaitingForALook) {
  options_.interval = absl::Hours(1);
  Process& a = Join("a:1");
  Make("m", 1);
  Process& b = Join("b:1");
  ASSERT_TRUE(a.Train("m", 1).ok());
  EXPECT_EQ(b.Step("m"), 1);
  std::promise<absl::Status> reached;
  b.Model("m")->WhenStep(2, [&](absl::Status status) { reached.set_value(std::move(status)); });
  EXPECT_TRUE(b.Model("m")->CatchUp());
  EXPECT_TRUE(reached.get_future().get().ok());
  EXPECT_EQ(b.Step("m"), 2);
}

TEST_F(ReplicasTest, WhatIsDeletedSomewhereIsGoneEverywhere) {
  Process& a = Join("a:1");
  Make("m", 1);
  Process& b = Join("b:1");
  const auto old = b.Model("m");
  ASSERT_TRUE(a.registry.Delete("m").ok());
  ASSERT_TRUE(Soon([&] { return b.Model("m") == nullptr; }));
  EXPECT_TRUE(old->deleted());
  Make("m", 3);  // another one of that name
  ASSERT_TRUE(Soon([&] { return b.Step("m") == 3; }));
  EXPECT_EQ(a.StateHash("m"), b.StateHash("m"));
}

TEST_F(ReplicasTest, ANewcomerIsGivenItsShareLittleByLittle) {
  options_.settle = absl::ZeroDuration();
  options_.moves_per_second = 3;
  Process& a = Join("a:1");
  std::set<std::string> of_b;
  for (int i = 0; i < 12; ++i) {
    const std::string id = absl::StrCat("m", i);
    Make(id, 2);
    if (Ranked(Named({"a:1", "b:1"}), id)[0].address == "b:1") of_b.insert(id);
  }
  ASSERT_GT(of_b.size(), 3u);
  const absl::Time begin = absl::Now();
  a.AwaitLook();  // so that those which see b begin behind `begin`
  Process& b = Join("b:1");
  const auto moved = [&] {
    std::set<std::string> ids;
    for (int i = 0; i < 12; ++i) {
      if (b.Writes(absl::StrCat("m", i))) ids.insert(absl::StrCat("m", i));
    }
    return ids;
  };
  ASSERT_TRUE(Soon([&] { return moved() == of_b; }));
  EXPECT_GE(absl::Now() - begin, absl::Seconds((of_b.size() - 1) / 3) - absl::Milliseconds(50));
  for (const std::string& id : of_b) EXPECT_EQ(b.Train(id, 2)->step, 3);
  EXPECT_EQ(a.registry.size(), 12);
}

TEST_F(ReplicasTest, WhoLeavesHandsOverAllItHas) {
  Process& a = Join("a:1");
  for (int i = 0; i < 5; ++i) Make(absl::StrCat("m", i), 2);
  Process& b = Join("b:1");
  a.replicas->Leave();
  ASSERT_TRUE(Soon([&] {
    int held = 0;
    for (int i = 0; i < 5; ++i) held += b.Writes(absl::StrCat("m", i));
    return held == 5;
  }));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(a.Writes(absl::StrCat("m", i)));
}

TEST_F(ReplicasTest, TheLastOneLeavesWithWhatItHas) {
  Process& a = Join("a:1");
  Make("m", 1);
  a.replicas->Leave();
  for (int look = 0; look < 3; ++look) a.AwaitLook();
  EXPECT_TRUE(a.Writes("m"));
}

TEST_F(ReplicasTest, AShadowIsWrittenWhereItsModelIs) {
  options_.settle = absl::ZeroDuration();
  options_.moves_per_second = 1000;
  Join("a:1");
  // A model that belongs to b, with a shadow that would not.
  const auto first = [](const std::string& id) {
    return Ranked(Named({"a:1", "b:1"}), id)[0].address;
  };
  std::string base, shadow;
  for (int i = 0; base.empty() || shadow.empty(); ++i) {
    const std::string id = absl::StrCat("m", i);
    (first(id) == "b:1" ? base : shadow) = id;
  }
  Make(base, 1);
  ModelSpec spec = SmallSpec();
  spec.learning.shadow_of = base;
  ASSERT_TRUE(processes_[0]->registry.Create(shadow, spec, {}).ok());
  Process& b = Join("b:1");
  ASSERT_TRUE(Soon([&] { return b.Writes(base) && b.Writes(shadow); }));
  ASSERT_EQ(b.registry.ShadowsOf(base).size(), 1u);
}

TEST_F(ReplicasTest, WhoIsCutOffServesOnAndSaysHowOldItIs) {
  Process& a = Join("a:1");
  Make("m", 1);
  Process& b = Join("b:1");
  b.store->CutOff(true);
  ASSERT_TRUE(a.Train("m", 1).ok());
  ASSERT_TRUE(Soon([&] { return b.Lag("m") > 0.05; }));
  EXPECT_EQ(b.Step("m"), 1);
  b.store->CutOff(false);
  ASSERT_TRUE(Soon([&] { return b.Step("m") == 2 && b.Lag("m") < 0.05; }));
}

TEST_F(ReplicasTest, WhoeverAsksIsToldAfterALook) {
  Process& a = Join("a:1");
  a.AwaitLook();
  a.replicas->Stop();
  bool inline_then = false;
  a.replicas->AfterLook([&] { inline_then = true; });
  EXPECT_TRUE(inline_then);
}

// Many commands while the writer changes again and again: each is learned once or refused.
TEST_F(ReplicasTest, CommandsMeetTakeoversUnharmed) {
  Process& a = Join("a:1");
  Make("m", 0);
  Process& b = Join("b:1");
  std::atomic<bool> stop = false;
  std::atomic<int64_t> learned = 0;
  std::thread caller([&] {
    for (int i = 0; !stop; ++i) {
      const auto result = (i % 2 == 0 ? a : b).Train("m", static_cast<float>(i % 7));
      if (result.ok()) ++learned;
      EXPECT_TRUE(result.ok() || IsNoWriter(result.status())) << result.status();
    }
  });
  for (int round = 0; round < 30; ++round) {
    Process& from = round % 2 == 0 ? a : b;
    Process& to = round % 2 == 0 ? b : a;
    const int64_t before = learned;
    from.store->Lose();
    EXPECT_TRUE(Soon([&] { return to.Writes("m") && learned > before; }));
    from.store->ComeBack();
    EXPECT_TRUE(Soon([&] { return from.Follows("m"); }));
  }
  stop = true;
  caller.join();
  ASSERT_TRUE(Soon([&] { return a.Step("m") == learned && b.Step("m") == learned; }));
  EXPECT_EQ(a.StateHash("m"), b.StateHash("m"));
}

}  // namespace
}  // namespace lazynorm
