#include "server/base/published.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace lazynorm {
namespace {

TEST(PublishedTest, IsEmptyUntilSet) {
  Published<int> published;
  EXPECT_EQ(published.Get(), nullptr);
  published.Set(std::make_shared<const int>(3));
  EXPECT_EQ(*published.Get(), 3);
}

TEST(PublishedTest, AReaderKeepsWhatItGot) {
  Published<int> published(std::make_shared<const int>(1));
  const std::shared_ptr<const int> mine = published.Get();
  published.Set(std::make_shared<const int>(2));
  EXPECT_EQ(*mine, 1);
  EXPECT_EQ(*published.Get(), 2);
}

TEST(PublishedTest, ReadersOnlySeeWholeValuesAndNeverAnOlderOne) {
  struct Pair {
    int a, b;
  };
  Published<Pair> published(std::make_shared<const Pair>(Pair{0, 0}));
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      int latest = 0;
      while (!stop) {
        const std::shared_ptr<const Pair> seen = published.Get();
        ASSERT_EQ(seen->a, -seen->b);
        ASSERT_GE(seen->a, latest);
        latest = seen->a;
      }
    });
  }
  for (int i = 1; i <= 2000; ++i) published.Set(std::make_shared<const Pair>(Pair{i, -i}));
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace lazynorm
