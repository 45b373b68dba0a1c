#include "model/request_window.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

TEST(RequestWindowTest, KnowsWhatItWasToldAndNothingElse) {
  RequestWindow window;
  window.Insert("a", 1, {.step = 5, .loss = 2});
  const auto known = window.Find("a", 1);
  ASSERT_TRUE(known.ok() && known->has_value());
  EXPECT_EQ((*known)->step, 5);
  EXPECT_EQ((*known)->loss, 2);
  EXPECT_TRUE((*known)->replayed);
  EXPECT_FALSE(window.Find("b", 1)->has_value());
  ExpectRefused(window.Find("a", 2).status(), "REQUEST_ID_REUSED", "request_id");
}

TEST(RequestWindowTest, ForgetsTheOldestBeyondItsCapacity) {
  RequestWindow window;
  const int n = 3 * RequestWindow::kCapacity;
  for (int i = 0; i < n; ++i) {
    std::string id = absl::StrCat("id", i);
    window.Insert(id, i, {.step = i});
    id.assign(id.size(), 'x');  // the window keeps its own copy
  }
  for (int i = 0; i < n; ++i) {
    EXPECT_EQ(window.Find(absl::StrCat("id", i), i)->has_value(),
              i >= n - RequestWindow::kCapacity);
  }
}

TEST(RequestWindowTest, ACopyLivesByItself) {
  auto window = std::make_unique<RequestWindow>();
  const std::string id = "an id that is too long to lie inside of a string";
  window->Insert(id, 1, {.step = 5});
  RequestWindow copy = *window;
  window->Insert("b", 1, {.step = 6});
  window.reset();
  EXPECT_EQ((*copy.Find(id, 1))->step, 5);
  EXPECT_FALSE(copy.Find("b", 1)->has_value());
}

struct Payload {
  Rows rows{Normal(4, 3, 1), Normal(4, 1, 2), {}, {1, 2, 3, 4}};
  bool freeze = false;
  absl::string_view id = "a";
  std::vector<absl::string_view> prediction_ids;
  int64_t now = 0;
};

uint64_t FingerprintOf(const std::function<void(Payload&)>& change) {
  Payload p;
  change(p);
  return Fingerprint({.batch = p.rows.batch(),
                      .request_id = p.id,
                      .freeze_statistics = p.freeze,
                      .prediction_ids = p.prediction_ids,
                      .now = p.now});
}

TEST(FingerprintTest, AnyDifferenceInWhatIsLearnedShows) {
  const std::vector<std::function<void(Payload&)>> changes = {
      [](Payload&) {},
      [](Payload& p) { p.rows.x(3, 2) += 1e-6f; },
      [](Payload& p) { p.rows.x.resize(3, 4), p.rows.x = Normal(3, 4, 1); },
      [](Payload& p) { p.rows.x.row(0).swap(p.rows.x.row(1)); },
      [](Payload& p) { p.rows.y(0, 0) = -p.rows.y(0, 0); },
      [](Payload& p) {
        p.rows.y = Matrix(), p.rows.labels = {0, 1, 0, 1};
      },
      [](Payload& p) {
        p.rows.y = Matrix(), p.rows.labels = {0, 1, 0, 0};
      },
      [](Payload& p) { p.rows.weights = {}; },
      [](Payload& p) { p.rows.weights[3] = 5; },
      [](Payload& p) { p.freeze = true; },
      [](Payload& p) {
        p.prediction_ids = {"a", "b", "c", "d"};
      },
      [](Payload& p) {
        p.prediction_ids = {"b", "a", "c", "d"};
      },
      [](Payload& p) {
        p.prediction_ids = {"ab", "", "c", "d"};
      },
      [](Payload& p) {
        p.prediction_ids = {"a", "b", "cd"};
      },
      [](Payload& p) { p.prediction_ids = {"longer than eight bytes"}; }};
  std::set<uint64_t> seen;
  for (const auto& change : changes) EXPECT_TRUE(seen.insert(FingerprintOf(change)).second);
}

TEST(FingerprintTest, WhenARequestComesIsNoPartOfIt) {
  EXPECT_EQ(FingerprintOf([](Payload&) {}), FingerprintOf([](Payload& p) { p.now = 5; }));
}

TEST(FingerprintTest, TheIdIsNoPartOfIt) {
  EXPECT_EQ(FingerprintOf([](Payload&) {}), FingerprintOf([](Payload& p) { p.id = "b"; }));
}

}  // namespace
}  // namespace lazynorm
