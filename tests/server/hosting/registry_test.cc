#include "server/hosting/registry.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/server/hosting/testing.h"

namespace lazynorm {
namespace {

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::warn);
    Make(1000);
  }
  void Make(int max_models) {
    registry_.reset();
    store_ = *OpenStore("memory:", {});
    registry_ = std::make_unique<Registry>(
        RegistryOptions{.max_models = max_models,
                        .limits = {.max_width = 8, .max_parameters = 100},
                        .hosting = {.trainers = &executor_,
                                    .predictors = &executor_,
                                    .clock = &clock_,
                                    .store = store_.get()},
                        .on_created = [this](absl::string_view id,
                                             bool serving) { Note(serving ? '+' : '!', id); },
                        .on_deleted = [this](absl::string_view id) { Note('-', id); }},
        metrics_);
  }
  absl::Status Create(const std::string& id) {
    return registry_->Create(id, SmallSpec(), {}).status();
  }
  std::vector<std::string> List(absl::string_view after, int most) {
    std::vector<std::string> ids;
    for (const auto& model : registry_->List(after, most)) ids.push_back(model->id());
    return ids;
  }
  void Note(char sign, absl::string_view id) {
    MutexLock lock(&mutex_);
    absl::StrAppend(&events_, std::string(1, sign), id, " ");
  }

  SetClock clock_;
  Metrics metrics_{"test", "v3"};
  std::unique_ptr<Store> store_;
  Executor executor_{2};
  Mutex mutex_;
  std::string events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Registry> registry_;
};

TEST_F(RegistryTest, WhatWasCreatedIsFoundUntilItIsDeleted) {
  ASSERT_TRUE(Create("a").ok());
  const auto model = registry_->Find("a");
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->id(), "a");
  EXPECT_TRUE(registry_->Delete("a").ok());
  EXPECT_TRUE((*model)->deleted());
  EXPECT_EQ(ReasonOf(registry_->Find("a").status()), "MODEL_NOT_FOUND");
  const absl::Status again = registry_->Delete("a");
  EXPECT_EQ(again.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(again), "MODEL_NOT_FOUND");
}

TEST_F(RegistryTest, AnIdIsTakenOnce) {
  ASSERT_TRUE(Create("a").ok());
  const auto first = *registry_->Find("a");
  const absl::Status again = Create("a");
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(again), "MODEL_EXISTS");
  EXPECT_EQ(*registry_->Find("a"), first);
  ASSERT_TRUE(registry_->Delete("a").ok());
  EXPECT_TRUE(Create("a").ok());
  EXPECT_NE(*registry_->Find("a"), first);
}

TEST_F(RegistryTest, BeyondTheLimitOfModelsNoneIsMade) {
  Make(/*max_models=*/2);
  ASSERT_TRUE(Create("a").ok());
  ASSERT_TRUE(Create("b").ok());
  const absl::Status third = Create("c");
  EXPECT_EQ(third.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(third), "LIMIT_EXCEEDED");
  EXPECT_EQ(ReasonOf(Create("a")), "MODEL_EXISTS");  // the better word of the two
  ASSERT_TRUE(registry_->Delete("a").ok());
  EXPECT_TRUE(Create("c").ok());
}

TEST_F(RegistryTest, WhatTheLearnerRefusesIsNotThere) {
  ModelSpec wide = SmallSpec();
  wide.layers.push_back(LinearSpec{.out_features = 9});
  EXPECT_EQ(ReasonOf(registry_->Create("a", wide, {}).status()), "LIMIT_EXCEEDED");
  EXPECT_EQ(ReasonOf(registry_->Create("a", {}, {}).status()), "INVALID_SPEC");
  EXPECT_FALSE(registry_->Find("a").ok());
  EXPECT_FALSE(absl::StrContains(metrics_.Expose(), "model=\"a\""));
  EXPECT_TRUE(Create("a").ok());
}

TEST_F(RegistryTest, ListsInTheOrderOfIdsAboveAGivenOne) {
  for (const char* id : {"c", "a", "b-1", "b", "ab"}) ASSERT_TRUE(Create(id).ok());
  using Ids = std::vector<std::string>;
  EXPECT_EQ(List("", 10), (Ids{"a", "ab", "b", "b-1", "c"}));
  EXPECT_EQ(List("", 2), (Ids{"a", "ab"}));
  EXPECT_EQ(List("ab", 2), (Ids{"b", "b-1"}));
  EXPECT_EQ(List("aa", 1), (Ids{"ab"}));  // need not be there itself
  EXPECT_EQ(List("c", 10), Ids{});
}

TEST_F(RegistryTest, TellsOfModelsAsTheyComeAndGo) {
  ASSERT_TRUE(Create("a").ok());
  ASSERT_FALSE(Create("a").ok());
  ASSERT_TRUE(registry_->Delete("a").ok());
  ASSERT_FALSE(registry_->Delete("a").ok());
  ASSERT_TRUE(Create("a").ok());
  MutexLock lock(&mutex_);
  EXPECT_EQ(events_, "+a -a +a ");
}

TEST_F(RegistryTest, TheSeriesOfAModelGoWithIt) {
  ASSERT_TRUE(Create("a").ok());
  EXPECT_TRUE(absl::StrContains(metrics_.Expose(), "model=\"a\""));
  ASSERT_TRUE(registry_->Delete("a").ok());
  EXPECT_FALSE(absl::StrContains(metrics_.Expose(), "model=\"a\""));
}

TEST_F(RegistryTest, OfManyWhoCreateTheSameIdOneDoes) {
  for (int round = 0; round < 20; ++round) {
    const std::string id = absl::StrCat("m", round);
    std::atomic<int> made = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        const absl::Status status = Create(id);
        if (status.ok()) {
          ++made;
        } else {
          EXPECT_EQ(ReasonOf(status), "MODEL_EXISTS");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(made, 1);
  }
}

}  // namespace
}  // namespace lazynorm
