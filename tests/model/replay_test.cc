#include "model/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

// Rows whose feature and target tell their number, from `first` on.
Rows Numbered(int first, int count) {
  Rows r{Matrix(count, 2), Matrix(count, 1), {}, {}};
  for (int i = 0; i < count; ++i) {
    r.x(i, 0) = r.x(i, 1) = static_cast<float>(first + i);
    r.y(i, 0) = static_cast<float>(-first - i);
  }
  return r;
}

std::vector<int> DrawnNumbers(Reservoir& reservoir, int count, uint64_t seed) {
  RowBuffer out;
  reservoir.Draw(count, Random(seed), out);
  std::vector<int> numbers;
  for (int64_t i = 0; i < out.rows(); ++i) {
    EXPECT_EQ(out.batch().features(i, 0), -out.batch().targets(i, 0));
    numbers.push_back(static_cast<int>(out.batch().features(i, 0)));
  }
  return numbers;
}

TEST(ReservoirTest, KeepsEverythingUntilItIsFull) {
  Reservoir reservoir(10);
  for (int i = 0; i < 9; i += 3) reservoir.Add(Numbered(i, 3).batch(), Random(1));
  const std::vector<int> all = DrawnNumbers(reservoir, 100, 2);
  EXPECT_EQ(std::set<int>(all.begin(), all.end()), std::set<int>({0, 1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(ReservoirTest, EveryRowSeenHasTheSameChanceToBeKept) {
  constexpr int kRows = 100, kCapacity = 10, kTries = 4000;
  std::vector<int> kept(kRows, 0);
  for (int t = 0; t < kTries; ++t) {
    Reservoir reservoir(kCapacity);
    for (int i = 0; i < kRows; i += 7) {
      reservoir.Add(Numbered(i, std::min(7, kRows - i)).batch(), Random(t));
    }
    for (int number : DrawnNumbers(reservoir, kCapacity, 1)) ++kept[number];
  }
  const double expected = 1.0 * kTries * kCapacity / kRows;
  for (int count : kept) EXPECT_NEAR(count, expected, 5.5 * std::sqrt(expected));
}

TEST(ReservoirTest, DrawsWithoutReplacementAndEveryRowAlike) {
  Reservoir reservoir(20);
  reservoir.Add(Numbered(0, 20).batch(), Random(1));
  std::vector<int> drawn(20, 0);
  for (int t = 0; t < 4000; ++t) {
    const std::vector<int> numbers = DrawnNumbers(reservoir, 5, t);
    EXPECT_EQ(std::set<int>(numbers.begin(), numbers.end()).size(), 5u);
    for (int number : numbers) ++drawn[number];
  }
  for (int count : drawn) EXPECT_NEAR(count, 1000, 5.5 * std::sqrt(1000));
}

TEST(ReservoirTest, HowRowsAreSplitIntoBatchesDoesNotMatter) {
  Reservoir at_once(8), one_by_one(8);
  at_once.Add(Numbered(0, 50).batch(), Random(3));
  for (int i = 0; i < 50; ++i) one_by_one.Add(Numbered(i, 1).batch(), Random(3));
  EXPECT_EQ(DrawnNumbers(at_once, 8, 1), DrawnNumbers(one_by_one, 8, 1));
}

TEST(ReservoirTest, LabelsAndWeightsStayWithTheirRows) {
  Rows rows = Numbered(0, 30);
  rows.y.resize(0, 0);
  for (int i = 0; i < 30; ++i) {
    rows.labels.push_back(i % 3);
    rows.weights.push_back(static_cast<float>(i) / 2);
  }
  Reservoir reservoir(5);
  reservoir.Add(rows.batch(), Random(1));
  RowBuffer out;
  reservoir.Draw(5, Random(2), out);
  ASSERT_EQ(out.rows(), 5);
  const Batch batch = out.batch();
  for (int i = 0; i < 5; ++i) {
    const int number = static_cast<int>(batch.features(i, 0));
    EXPECT_EQ(batch.labels[i], number % 3);
    EXPECT_EQ(batch.sample_weights[i], number / 2.0f);
  }
}

TEST(ReservoirTest, WithoutCapacityNothingIsKept) {
  Reservoir reservoir(0);
  reservoir.Add(Numbered(0, 5).batch(), Random(1));
  EXPECT_EQ(reservoir.size(), 0);
  EXPECT_TRUE(DrawnNumbers(reservoir, 3, 1).empty());
}

TEST(ReservoirTest, LabelsBecomeTargetsAsSoonAsARowComesWithOne) {
  const Rows labelled{Numbered(0, 4).x, Matrix(), {0, 1, 1, 0}, {}};
  const Rows others = Numbered(4, 4);
  for (const int capacity : {3, 20}) {  // replaced, or beside each other
    Reservoir mixed(capacity), other_way(capacity);
    mixed.Add(labelled.batch(), Random(1));
    mixed.Add(others.batch(), Random(1));
    other_way.Add(others.batch(), Random(1));
    other_way.Add(labelled.batch(), Random(1));
    for (Reservoir* reservoir : {&mixed, &other_way}) {
      EXPECT_TRUE(reservoir->rows().Fit(2, 1));
      RowBuffer out;
      reservoir->Draw(20, Random(2), out);
      ASSERT_EQ(out.rows(), std::min(capacity, 8));
      const Batch batch = out.batch();
      EXPECT_TRUE(batch.labels.empty());
      for (int64_t i = 0; i < out.rows(); ++i) {
        const int number = static_cast<int>(batch.features(i, 0));
        EXPECT_EQ(batch.targets(i, 0), number < 4 ? labelled.labels[number] : -number);
      }
    }
  }
}

TEST(ReservoirTest, OnlyWholeRowsFitANetwork) {
  Reservoir reservoir(5);
  EXPECT_TRUE(reservoir.rows().Fit(2, 1)) << "none yet";
  reservoir.Add(Numbered(0, 5).batch(), Random(1));
  EXPECT_TRUE(reservoir.rows().Fit(2, 1));
  EXPECT_FALSE(reservoir.rows().Fit(3, 1));
  EXPECT_FALSE(reservoir.rows().Fit(2, 2));
  Reservoir classes(5);
  classes.Add(Rows{Normal(2, 2, 1), Matrix(), {0, 2}, {}}.batch(), Random(1));
  EXPECT_TRUE(classes.rows().Fit(2, 3));
  EXPECT_FALSE(classes.rows().Fit(2, 2)) << "a label that the network has no output for";
}

}  // namespace
}  // namespace lazynorm
