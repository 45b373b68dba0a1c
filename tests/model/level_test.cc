// All tests of this room run once on each level of the kernels: LAZYNORM_TEST_CPU names it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "model/kernels.h"

namespace lazynorm {
namespace {

constexpr int kSkipped = 77;  // what ctest takes for a skipped test

std::string WantedLevel() {
  const char* level = std::getenv("LAZYNORM_TEST_CPU");
  return level == nullptr ? std::string(AvailableKernels().front()->level) : level;
}

// Before any test, and before the cases that a test finds at its start.
const bool kChosen = [] {
  if (!UseKernels(WantedLevel())) std::_Exit(kSkipped);
  return true;
}();

TEST(LevelTest, TheTestsRunOnTheLevelThatWasAskedFor) {
  ASSERT_TRUE(kChosen);
  EXPECT_EQ(ActiveKernels().level, WantedLevel());
}

}  // namespace
}  // namespace lazynorm
