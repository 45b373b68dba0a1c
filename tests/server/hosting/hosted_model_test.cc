#include "server/hosting/hosted_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "server/metrics/metrics.h"
#include "tests/server/hosting/testing.h"

namespace lazynorm {
namespace {

using PlanOr = absl::StatusOr<std::shared_ptr<const Plan>>;

class HostedModelTest : public testing::Test {
 protected:
  void SetUp() override { model_ = Make(SmallSpec()); }

  std::shared_ptr<HostedModel> Make(const ModelSpec& spec, int max_queued = 1024) {
    // Of one test, one model after the other.
    stores_.push_back(*OpenStore("memory:", {}));
    Store* const store = stores_.back().get();
    const DurableOptions durable{.store = store, .clock = &clock_};
    return HostedModel::Make("m", NewModel(*store, clock_, spec),
                             [durable](bool) { return DurableModel::Open("m", durable); },
                             metrics_.AddModel("m", std::vector<int>{1}),
                             {.max_queued_steps = max_queued,
                              .trainers = trainers_.get(),
                              .predictors = &predictors_,
                              .clock = &clock_,
                              .store = store});
  }
  void Submit(int id, const Command& command) {
    model_->Submit({.command = command, .done = answers_.For(id), .chain = nullptr});
  }
  // One step, published when this returns.
  void Train(float number, absl::string_view request_id = "") {
    const size_t before = answers_.size();
    rows_.emplace_back(number);
    Submit(0, rows_.back().command(request_id));
    const auto answers = answers_.Wait(before + 1);
    ASSERT_TRUE(answers.back().result.ok()) << answers.back().result.status();
  }
  // The status that a wait for `step` ends with.
  std::future<absl::Status> Reach(int64_t step, int64_t* ticket = nullptr) {
    auto reached = std::make_shared<std::promise<absl::Status>>();
    const int64_t t =
        model_->WhenStep(step, [reached](absl::Status s) { reached->set_value(std::move(s)); });
    if (ticket != nullptr) *ticket = t;
    return reached->get_future();
  }

  SetClock clock_;
  Metrics metrics_{"test", "v3"};
  std::vector<std::unique_ptr<Store>> stores_;  // outlive the models
  std::deque<Rows> rows_;
  Answers answers_;
  Executor predictors_{2};
  HeldExecutor trainers_;
  std::shared_ptr<HostedModel> model_;
};

TEST_F(HostedModelTest, ALazyModelShowsNoPlanAndNoWidths) {
  const auto view = model_->view();
  EXPECT_EQ(view->plan, nullptr);
  EXPECT_EQ(view->step, 0);
  EXPECT_EQ(view->in_features, 0);
  EXPECT_EQ(view->out_features, 1);
  EXPECT_EQ(view->parameter_count, 0);
  EXPECT_TRUE(std::isnan(view->train_loss));
  EXPECT_TRUE(std::isnan(view->prequential_loss));
  EXPECT_TRUE(view->batch_norm_shift.empty());
}

TEST_F(HostedModelTest, AStepIsSeenByTheTimeItIsAnswered) {
  Train(1);
  const auto view = model_->view();
  EXPECT_EQ(view->step, 1);
  EXPECT_EQ(view->plan->step(), 1);
  EXPECT_EQ(view->rows_trained, 2);
  EXPECT_EQ(view->in_features, 2);
  EXPECT_GT(view->parameter_count, 0);
  EXPECT_EQ(view->batch_norm_shift.size(), 1u);
  EXPECT_DOUBLE_EQ(view->train_loss, answers_.Wait(1)[0].result->loss);
}

TEST_F(HostedModelTest, AveragesBeginWithTheFirstStepAndThenMoveSlowly) {
  Train(1);
  const double first = answers_.Wait(1)[0].result->loss;
  EXPECT_NEAR(model_->view()->train_loss, first, 1e-12 * first);
  Train(100);
  const double second = answers_.Wait(2)[1].result->loss;
  // Weights 0.99 * 0.01 and 0.01.
  EXPECT_NEAR(model_->view()->train_loss, (0.99 * first + second) / 1.99, 1e-9 * second);
}

TEST_F(HostedModelTest, AViewKeepsWhatItSaw) {
  Train(1);
  const auto before = model_->view();
  const Rows rows(5);
  const auto y = before->plan->Predict(rows.command().batch.features);
  Train(2);
  EXPECT_EQ(before->step, 1);
  EXPECT_EQ(model_->view()->step, 2);
  EXPECT_EQ(*before->plan->Predict(rows.command().batch.features), *y);
}

TEST_F(HostedModelTest, UpdateTimeMovesWithEveryChangeAndWithNothingElse) {
  const absl::Time created = clock_.Now();
  EXPECT_EQ(model_->view()->create_time, created);
  EXPECT_EQ(model_->view()->update_time, created);
  clock_.Advance(absl::Seconds(10));
  // A look, and refused commands, lazy and resolved.
  const auto look = [&] {
    std::promise<void> looked;
    model_->Inspect([](const Learner&) {}, [&](absl::Status) { looked.set_value(); });
    looked.get_future().wait();
    const size_t before = answers_.size();
    Submit(0, TrainCommand{});
    Submit(0, UpdateCommand{.learning_rate = -1});
    answers_.Wait(before + 2);
  };
  look();
  EXPECT_EQ(model_->view()->update_time, created);
  Train(1, "id");
  EXPECT_EQ(model_->view()->update_time, created + absl::Seconds(10));
  clock_.Advance(absl::Seconds(10));
  look();
  Train(1, "id");  // a replay
  EXPECT_EQ(model_->view()->update_time, created + absl::Seconds(10));
  size_t answered = answers_.size();
  for (const Command& command :
       {Command(FreezeStatisticsCommand{true}), Command(UpdateCommand{.learning_rate = 0.5}),
        Command(UpdateCommand{.clip_grad_norm = 0.5})}) {
    clock_.Advance(absl::Seconds(1));
    Submit(0, command);
    answers_.Wait(++answered);
    EXPECT_EQ(model_->view()->update_time, clock_.Now());
  }
  EXPECT_EQ(model_->view()->create_time, created);
  EXPECT_TRUE(model_->view()->statistics_frozen);
  EXPECT_EQ(LearningRate(model_->view()->spec->optimizer), 0.5);
  EXPECT_EQ(model_->view()->spec->learning.clip_grad_norm, 0.5);
}

TEST_F(HostedModelTest, WithPlanResolvesALazyModelOnceAndTellsTheOthers) {
  constexpr int kCallers = 16;
  std::vector<std::promise<PlanOr>> plans(kCallers);
  std::vector<std::thread> threads;
  for (int i = 0; i < kCallers; ++i) {
    threads.emplace_back([&, i] {
      model_->WithPlan(i % 2 == 0 ? 4 : 5, [&, i](PlanOr plan) { plans[i].set_value(plan); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  int resolved = 0;
  for (int i = 0; i < kCallers; ++i) {
    const PlanOr plan = plans[i].get_future().get();
    const int width = model_->view()->in_features;
    const int asked = i % 2 == 0 ? 4 : 5;
    // Who comes after the resolution gets the plan, which checks the width itself.
    if (plan.ok()) {
      EXPECT_EQ((*plan)->in_features(), width);
      resolved += asked == width ? 1 : 0;
    } else {
      EXPECT_NE(asked, width);
      EXPECT_EQ(ReasonOf(plan.status()), "WIDTH_MISMATCH");
    }
  }
  EXPECT_EQ(resolved, kCallers / 2);
  EXPECT_EQ(model_->view()->step, 0);
}

TEST_F(HostedModelTest, APredictionIsRememberedForItsTimeByTheHostsClock) {
  Train(1);
  const Rows rows(2);
  const std::vector<float> served = {1, 2};
  for (const bool in_time : {true, false}) {
    Submit(1, RememberCommand{.ids = {"a", "b"},
                              .features = ConstMatrixView(rows.features.data(), 2, 2),
                              .predictions = ConstMatrixView(served.data(), 2, 1)});
    ASSERT_TRUE(answers_.Wait(in_time ? 2 : 4).back().result.ok());
    EXPECT_EQ(model_->view()->remembered_predictions, 2);
    EXPECT_TRUE(
        absl::StrContains(metrics_.Expose(), "lazynorm_remembered_predictions{model=\"m\"} 2\n"));
    clock_.Advance(in_time ? absl::Hours(24) - absl::Microseconds(1) : absl::Hours(24));
    TrainCommand labels = rows.command();
    labels.batch.features = {};
    labels.prediction_ids = {"a", "b"};
    Submit(2, labels);
    const auto result = answers_.Wait(in_time ? 3 : 5).back().result;
    EXPECT_EQ(result.ok(), in_time) << result.status();
    EXPECT_EQ(model_->view()->remembered_predictions, in_time ? 0 : 2);
  }
}

TEST_F(HostedModelTest, WithPlanAnswersInlineOnceResolved) {
  Train(1);
  bool answered = false;
  model_->WithPlan(2, [&](PlanOr plan) {
    answered = true;
    EXPECT_EQ((*plan)->step(), 1);
  });
  EXPECT_TRUE(answered);
}

TEST_F(HostedModelTest, WhatWasReachedIsNotWaitedFor) {
  Train(1);
  int64_t ticket = -1;
  EXPECT_TRUE(Reach(1, &ticket).get().ok());
  EXPECT_EQ(ticket, 0);
  EXPECT_TRUE(Reach(0, &ticket).get().ok());
  EXPECT_EQ(ticket, 0);
}

TEST_F(HostedModelTest, AWaitEndsWhenTheStepIsReachedAndNotBefore) {
  auto second = Reach(2);
  auto third = Reach(3);
  Train(1);
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(5)), std::future_status::timeout);
  Train(2);
  EXPECT_TRUE(second.get().ok());
  EXPECT_EQ(third.wait_for(std::chrono::milliseconds(5)), std::future_status::timeout);
  Train(3);
  EXPECT_TRUE(third.get().ok());
}

TEST_F(HostedModelTest, AWaitThatIsStoppedIsNeverAnswered) {
  int64_t ticket = 0;
  bool answered = false;
  ticket = model_->WhenStep(1, [&](const absl::Status&) { answered = true; });
  ASSERT_NE(ticket, 0);
  EXPECT_TRUE(model_->StopWaiting(ticket));
  EXPECT_FALSE(model_->StopWaiting(ticket));
  Train(1);
  predictors_.Stop();
  EXPECT_FALSE(answered);
}

TEST_F(HostedModelTest, WaitsMayBeEndedForGoodWhileTheModelGoesOn) {
  auto first = Reach(1);
  auto second = Reach(2);
  model_->EndWaits(absl::UnavailableError("draining"));
  EXPECT_EQ(first.get().message(), "draining");
  EXPECT_EQ(second.get().message(), "draining");
  EXPECT_EQ(Reach(1).get().message(), "draining") << "a call that was let in just before";
  Train(1);
  EXPECT_TRUE(Reach(1).get().ok());
}

TEST_F(HostedModelTest, DeleteAnswersAllThatWaits) {
  trainers_.Hold();
  rows_.emplace_back(1);
  Submit(1, rows_.back().command());
  auto reached = Reach(5);
  std::promise<PlanOr> plan;
  model_->WithPlan(2, [&](PlanOr p) { plan.set_value(std::move(p)); });
  std::promise<absl::Status> inspected;
  model_->Inspect([](const Learner&) {}, [&](absl::Status s) { inspected.set_value(s); });
  model_->Delete();
  EXPECT_TRUE(model_->deleted());
  EXPECT_EQ(ReasonOf(answers_.Wait(1)[0].result.status()), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonOf(reached.get()), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonOf(plan.get_future().get().status()), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonOf(inspected.get_future().get()), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonOf(Reach(1).get()), "MODEL_NOT_FOUND");
  Submit(2, FreezeStatisticsCommand{true});
  EXPECT_EQ(ReasonOf(answers_.Wait(2)[1].result.status()), "MODEL_NOT_FOUND");
  trainers_.LetGo();
}

// The model that is read back has taken as many steps as the one that was ahead of the store.
TEST_F(HostedModelTest, ThePlanOfAStepThatWasNotKeptIsNeverServed) {
  BrittleStore store;
  const DurableOptions durable{.store = &store, .clock = &clock_};
  model_ = HostedModel::Make(
      "m", NewModel(store, clock_, SmallSpec()),
      [durable](bool) { return DurableModel::Open("m", durable); },
      metrics_.AddModel("m", std::vector<int>{1}),
      {.trainers = trainers_.get(), .predictors = &predictors_, .clock = &clock_, .store = &store});
  Train(1);
  Train(2);
  store.Break(absl::UnavailableError("broken"));
  rows_.emplace_back(3.0f);
  Submit(0, rows_.back().command());
  ASSERT_FALSE(answers_.Wait(3)[2].result.ok());
  store.Break(absl::OkStatus());
  std::promise<void> read;
  model_->Inspect([](const Learner&) {}, [&](const absl::Status&) { read.set_value(); });
  read.get_future().wait();
  EXPECT_EQ(model_->view()->step, 2);
  EXPECT_EQ(model_->view()->plan->step(), 2);
  model_ = nullptr;
  trainers_.get()->Stop();
}

TEST_F(HostedModelTest, AnEmptyQueueIsShownAsEmptyHoweverManyFillIt) {
  for (int round = 0; round < 20; ++round) {
    rows_.emplace_back(static_cast<float>(round));
    const size_t before = answers_.size();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) Submit(0, rows_.back().command());
      });
    }
    for (std::thread& thread : threads) thread.join();
    answers_.Wait(before + 30);
    EXPECT_TRUE(Soon([&] {
      return absl::StrContains(metrics_.Expose(), "lazynorm_train_queue_depth{model=\"m\"} 0\n");
    }));
  }
}

}  // namespace
}  // namespace lazynorm
