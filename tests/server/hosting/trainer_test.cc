#include "server/hosting/trainer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "tests/server/hosting/testing.h"

namespace lazynorm {
namespace {

// Notes what a trainer tells, and that it tells from one turn at a time.
class Listener : public TurnListener {
 public:
  void OnStep(const StepResult& result, const DurableModel& model, absl::Duration time) override {
    const Alone alone(this);
    EXPECT_LE(result.step, steps + 1);  // less where steps were refused later
    EXPECT_GT(model.learner().diagnostics().rows, 0);
    EXPECT_GE(time, absl::ZeroDuration());
    ++steps;
  }
  absl::AnyInvocable<void()> OnTurnEnd(const DurableModel& model) override {
    const Alone alone(this);
    return [this, step = model.learner().step()] {
      published = step;
      ++turns;
    };
  }
  void OnQueue() override { ++queue_changes; }

  std::atomic<int64_t> steps = 0, published = 0;
  std::atomic<int> turns = 0, queue_changes = 0;

 private:
  struct Alone {
    explicit Alone(Listener* l) : listener(l) { EXPECT_FALSE(listener->busy_.exchange(true)); }
    ~Alone() { listener->busy_ = false; }
    Listener* listener;
  };
  std::atomic<bool> busy_ = false;
};

class TrainerTest : public testing::Test {
 protected:
  void Make(int max_queued = 1024) {
    trainer_ = MakeTrainer(max_queued, executor_.get());
    trainer_->Listen(listener_);
  }
  std::shared_ptr<Trainer> MakeTrainer(int max_queued, Executor* executor) {
    const auto reopen = [this](bool) {
      on_reopen_();
      return DurableModel::Open("m", {.store = &store_, .clock = &clock_});
    };
    return std::make_shared<Trainer>(NewModel(store_, clock_), reopen, max_queued, executor);
  }
  // Submits a step of its own rows under `id`.
  void Train(int id, std::shared_ptr<CommandChain> chain = nullptr, int columns = 2) {
    rows_.emplace_back(static_cast<float>(id), columns);
    trainer_->Submit(
        {.command = rows_.back().command(), .done = answers_.For(id), .chain = std::move(chain)});
  }

  SetClock clock_;
  BrittleStore store_;     // outlives the trainer
  std::deque<Rows> rows_;  // outlive the executor
  Answers answers_;
  std::shared_ptr<Listener> listener_ = std::make_shared<Listener>();
  std::function<void()> on_reopen_ = [] {};
  HeldExecutor executor_;
  std::shared_ptr<Trainer> trainer_;
};

TEST_F(TrainerTest, CommandsAreAppliedAndAnsweredInTheOrderOfSubmission) {
  Make();
  executor_.Hold();
  for (int i = 0; i < 20; ++i) Train(i);
  EXPECT_EQ(answers_.size(), 0u);
  EXPECT_EQ(trainer_->queued(), 20);
  executor_.LetGo();
  const auto answers = answers_.Wait(20);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(answers[i].id, i);
    ASSERT_TRUE(answers[i].result.ok()) << answers[i].result.status();
    EXPECT_EQ(answers[i].result->step, i + 1);
  }
  EXPECT_EQ(listener_->steps, 20);
  EXPECT_EQ(trainer_->queued(), 0);
}

TEST_F(TrainerTest, NobodyIsAnsweredBeforeTheTurnIsPublished) {
  Make();
  executor_.Hold();
  std::vector<int64_t> published(6);
  Answers answers;
  for (int i = 0; i < 5; ++i) {
    rows_.emplace_back(static_cast<float>(i));
    trainer_->Submit({.command = rows_.back().command(),
                      .done =
                          [&, i, done = answers.For(i)](absl::StatusOr<StepResult> r) mutable {
                            published[i] = listener_->published;
                            done(std::move(r));
                          },
                      .chain = nullptr});
  }
  int64_t read = 0;
  trainer_->Inspect([&](DurableModel& model) { read = model.learner().step(); },
                    [&, done = answers.For(5)](absl::Status status) mutable {
                      published[5] = listener_->published;
                      EXPECT_TRUE(status.ok());
                      done(StepResult{});
                    });
  executor_.LetGo();
  answers.Wait(6);
  EXPECT_EQ(read, 5);
  for (int i = 0; i < 6; ++i) EXPECT_GE(published[i], std::min(i + 1, 5)) << i;
}

TEST_F(TrainerTest, OneTurnAtATimeWhateverTheNumberOfThreads) {
  Executor executor(4);
  trainer_ = MakeTrainer(100'000, &executor);
  trainer_->Listen(listener_);  // which checks
  std::deque<Rows> rows;
  for (int i = 0; i < 4; ++i) rows.emplace_back(static_cast<float>(i));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        trainer_->Submit({.command = rows[t].command(), .done = answers_.For(t), .chain = nullptr});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto answers = answers_.Wait(400);
  executor.Stop();
  EXPECT_EQ(listener_->steps, 400);
  EXPECT_EQ(listener_->published, 400);
}

TEST_F(TrainerTest, AFullQueueRefusesAtOnceAndTheRestIsUnharmed) {
  Make(/*max_queued=*/3);
  executor_.Hold();
  for (int i = 0; i < 3; ++i) Train(i);
  EXPECT_EQ(answers_.size(), 0u);
  Train(3);
  const auto refused = answers_.Wait(1);
  EXPECT_EQ(refused[0].id, 3);
  EXPECT_EQ(refused[0].result.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused[0].result.status()), "QUEUE_FULL");
  executor_.LetGo();
  const auto answers = answers_.Wait(4);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(answers[i + 1].result->step, i + 1);
  Train(4);
  EXPECT_EQ(answers_.Wait(5)[4].result->step, 4);
}

TEST_F(TrainerTest, AnInspectionIsNeverRefusedAsFull) {
  Make(/*max_queued=*/1);
  executor_.Hold();
  Train(0);
  std::promise<int64_t> step;
  trainer_->Inspect([&](DurableModel& model) { step.set_value(model.learner().step()); },
                    [](absl::Status status) { EXPECT_TRUE(status.ok()) << status; });
  executor_.LetGo();
  EXPECT_EQ(step.get_future().get(), 1);
  EXPECT_TRUE(answers_.Wait(1)[0].result.ok());
}

TEST_F(TrainerTest, BehindARefusedCommandOfAChainNothingIsApplied) {
  Make();
  const auto chain = std::make_shared<CommandChain>();
  executor_.Hold();
  Train(0, chain);
  Train(1, chain);
  Train(2, chain, /*columns=*/3);  // too wide
  Train(3, chain);
  Train(4);  // of nobody's chain
  Train(5, std::make_shared<CommandChain>());
  executor_.LetGo();
  const auto answers = answers_.Wait(6);
  EXPECT_EQ(answers[0].result->step, 1);
  EXPECT_EQ(answers[1].result->step, 2);
  EXPECT_EQ(ReasonOf(answers[2].result.status()), "WIDTH_MISMATCH");
  EXPECT_EQ(answers[3].result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(answers[4].result->step, 3);
  EXPECT_EQ(answers[5].result->step, 4);
}

TEST_F(TrainerTest, CloseAnswersAllThatWaitsAndAllThatComes) {
  Make();
  executor_.Hold();
  for (int i = 0; i < 3; ++i) Train(i);
  absl::Status inspected;
  trainer_->Inspect([](DurableModel&) { ADD_FAILURE() << "read after the close"; },
                    [&](absl::Status status) { inspected = status; });
  trainer_->Close(absl::NotFoundError("gone"));
  const auto answers = answers_.Wait(3);
  for (const auto& answer : answers) EXPECT_EQ(answer.result.status().message(), "gone");
  EXPECT_EQ(inspected.message(), "gone");
  Train(3);
  EXPECT_EQ(answers_.Wait(4)[3].result.status().message(), "gone");
  executor_.LetGo();
  executor_.get()->Stop();
  EXPECT_EQ(listener_->steps, 0);
}

// A model with much to do gives the thread back between turns.
TEST_F(TrainerTest, ABusyModelDoesNotStarveAnother) {
  Make(1'000'000);
  BrittleStore others;
  const auto other =
      std::make_shared<Trainer>(NewModel(others, clock_), nullptr, 10, executor_.get());
  const Rows rows(1, 64, 256);
  Answers busy;
  executor_.Hold();
  // About 30 ms or more: many turns of 2 ms.
  constexpr int kMany = 2000;
  for (int i = 0; i < kMany; ++i) {
    trainer_->Submit({.command = rows.command(), .done = busy.For(i), .chain = nullptr});
  }
  const Rows few(2);
  size_t before = 0;
  std::promise<void> served;
  other->Submit({.command = few.command(),
                 .done =
                     [&](const absl::StatusOr<StepResult>& result) {
                       EXPECT_TRUE(result.ok());
                       before = busy.size();
                       served.set_value();
                     },
                 .chain = nullptr});
  executor_.LetGo();
  served.get_future().wait();
  EXPECT_LT(before, size_t{kMany} / 2);
  EXPECT_EQ(busy.Wait(kMany).back().result->step, kMany);
  EXPECT_GT(listener_->turns, 2);
}

TEST_F(TrainerTest, ATrainerLivesUntilItsTurnIsOver) {
  Make();
  executor_.Hold();
  Train(0);
  trainer_.reset();
  listener_.reset();  // which is not told any more
  executor_.LetGo();
  EXPECT_EQ(answers_.Wait(1)[0].result->step, 1);
}

TEST_F(TrainerTest, NobodyIsAnsweredBeforeTheStepIsDurableAndTheNextOneComputesMeanwhile) {
  Make();
  store_.Hold();
  Train(0);
  while (listener_->steps < 1) std::this_thread::yield();
  Train(1);
  while (listener_->steps < 2) std::this_thread::yield();
  EXPECT_EQ(answers_.size(), 0u);
  EXPECT_EQ(listener_->published, 0);
  store_.LetGo();
  EXPECT_EQ(answers_.Wait(2)[1].result->step, 2);
  EXPECT_EQ(listener_->published, 2);
}

TEST_F(TrainerTest, WhatCouldNotBeKeptIsRefusedForgottenAndLearningResumes) {
  Make();
  Train(0);
  answers_.Wait(1);
  const absl::Status full = absl::ResourceExhaustedError("no space");
  store_.Break(full);
  executor_.Hold();
  for (int i = 1; i <= 3; ++i) Train(i);
  executor_.LetGo();
  const auto refused = answers_.Wait(4);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(refused[i].result.status(), full);
  EXPECT_EQ(listener_->published, 1);
  // For a while all are refused at once.
  Train(4);
  EXPECT_EQ(answers_.Wait(5)[4].result.status(), full);
  store_.Break(absl::OkStatus());
  size_t tries = 5;
  absl::StatusOr<StepResult> result = full;
  while (!result.ok()) {
    Train(5);
    result = answers_.Wait(++tries).back().result;
    ASSERT_TRUE(result.ok() || result.status() == full) << result.status();
  }
  EXPECT_EQ(result->step, 2);
  EXPECT_EQ(listener_->published, 2);
}

TEST_F(TrainerTest, WhatIsKeptCanBeReadWhileNothingCanBeWritten) {
  Make();
  Train(0);
  answers_.Wait(1);
  store_.Break(absl::ResourceExhaustedError("no space"));
  Train(1);
  EXPECT_FALSE(answers_.Wait(2)[1].result.ok());
  for (int i = 0; i < 2; ++i) {
    std::promise<absl::Status> heard;
    int64_t read = 0;
    trainer_->Inspect([&](DurableModel& model) { read = model.learner().step(); },
                      [&](absl::Status status) { heard.set_value(std::move(status)); });
    EXPECT_TRUE(heard.get_future().get().ok());
    EXPECT_EQ(read, 1);
    Train(2);  // refused as before
    EXPECT_FALSE(answers_.Wait(static_cast<size_t>(i) + 3).back().result.ok());
  }
}

// Its name may be another model's by then.
TEST_F(TrainerTest, AModelThatIsClosedIsNotOpenedAgain) {
  Make();
  store_.Break(absl::NotFoundError("deleted"));
  Train(0);
  EXPECT_FALSE(answers_.Wait(1)[0].result.ok());
  on_reopen_ = [] { ADD_FAILURE() << "opened again"; };
  executor_.Hold();
  trainer_->Inspect([](DurableModel&) {}, [](const absl::Status&) {});  // brings about a turn
  trainer_->Close(absl::NotFoundError("gone"));
  executor_.LetGo();
  executor_.get()->Stop();
}

TEST_F(TrainerTest, CloseWaitsUntilAModelThatIsBeingOpenedIsOpen) {
  Make();
  store_.Break(absl::NotFoundError("deleted"));
  Train(0);
  EXPECT_FALSE(answers_.Wait(1)[0].result.ok());
  std::promise<void> begun, go_on;
  std::atomic<bool> opened = false;
  on_reopen_ = [&] {
    begun.set_value();
    go_on.get_future().wait();
    opened = true;
  };
  trainer_->Inspect([](DurableModel&) {}, [](const absl::Status&) {});
  begun.get_future().wait();
  std::thread closer([&] {
    trainer_->Close(absl::NotFoundError("gone"));
    EXPECT_TRUE(opened);
  });
  EXPECT_TRUE(Soon([&] { return trainer_->queued() == 0; }));  // it has begun
  go_on.set_value();
  closer.join();
  executor_.get()->Stop();
}

TEST_F(TrainerTest, AStreamThatMetAFailedCommitGoesNoFurther) {
  Make();
  store_.Break(absl::ResourceExhaustedError("no space"));
  const auto chain = std::make_shared<CommandChain>();
  Train(0, chain);
  EXPECT_FALSE(answers_.Wait(1)[0].result.ok());
  EXPECT_TRUE(chain->broken);
}

TEST_F(TrainerTest, WhoInspectsHearsOnceWhatWasSeenIsDurable) {
  Make();
  store_.Hold();
  Train(0);
  std::promise<absl::Status> heard;
  std::atomic<int64_t> read = 0;
  trainer_->Inspect([&](DurableModel& model) { read = model.learner().step(); },
                    [&](absl::Status status) { heard.set_value(std::move(status)); });
  while (read == 0) std::this_thread::yield();
  std::future<absl::Status> future = heard.get_future();
  EXPECT_EQ(future.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  store_.LetGo();
  EXPECT_TRUE(future.get().ok());
  EXPECT_EQ(listener_->published, 1);
}

}  // namespace
}  // namespace lazynorm
