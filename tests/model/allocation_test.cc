// A warm learning step allocates nothing: every allocation of this program is counted.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/testing.h"

// gcc says so by macros, clang by features.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LAZYNORM_SANITIZER_ALLOCATES 1
#elif defined(__clang__)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LAZYNORM_SANITIZER_ALLOCATES 1
#endif
#endif

namespace {
// Of the calling thread, while it counts; volatile, because compilers know that malloc reads
// neither.
thread_local volatile bool counting = false;
thread_local volatile int allocations = 0;

void Count() {
  if (counting) allocations = allocations + 1;
}
}  // namespace

#ifdef LAZYNORM_SANITIZER_ALLOCATES
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             size_t),
                                                         void (*free_hook)(const volatile void*));
namespace {
const int kInstalled = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, size_t) { Count(); }, [](const volatile void*) {});
}
#else
// glibc's own malloc, behind ours: operator new and Eigen both end here.
extern "C" void* __libc_malloc(size_t size);
extern "C" void* malloc(size_t size) noexcept {
  Count();
  return __libc_malloc(size);
}
#endif

namespace lazynorm {
namespace {

template <class Work>
int AllocationsOf(Work work) {
  allocations = 0;
  counting = true;
  work();
  counting = false;
  return allocations;
}

// Makes the compiler believe that the memory is used.
const void* volatile used = nullptr;

TEST(AllocationTest, TheCounterSeesBothNewAndEigen) {
  EXPECT_GE(AllocationsOf([] { used = std::make_unique<int>(1).get(); }), 1);
  EXPECT_GE(AllocationsOf([] { used = Eigen::ArrayXf(1000).data(); }), 1);
}

ModelSpec Network(const OptimizerSpec& optimizer) {
  MlpSpec mlp{.hidden = {64, 64}, .normalize_input = true, .dropout = 0.2};
  ModelSpec spec = SpecOf(Expand(mlp), optimizer);
  spec.learning.clip_grad_norm = 0.5;
  return spec;
}

TEST(AllocationTest, AWarmStepAllocatesNothingWithAnyOptimizer) {
  const std::vector<OptimizerSpec> optimizers = {SgdSpec{},
                                                 SgdSpec{.momentum = 0.9},
                                                 AdamSpec{},
                                                 AdamWSpec{.amsgrad = true},
                                                 RmsPropSpec{.momentum = 0.9, .centered = true},
                                                 AdagradSpec{}};
  const Rows full = RegressionRows(32, 10, 1, 1), small = RegressionRows(5, 10, 1, 2);
  for (const OptimizerSpec& optimizer : optimizers) {
    const auto learner = NewLearner(Network(optimizer));
    TrainOn(*learner, full);
    bool good = true;
    const auto steps = [&](const Rows& rows, bool frozen) {
      for (int i = 0; i < 3; ++i) {
        good &=
            learner->Apply(TrainCommand{.batch = rows.batch(), .freeze_statistics = frozen}).ok();
      }
    };
    EXPECT_EQ(AllocationsOf([&] { steps(full, false); }), 0) << optimizer.index();
    EXPECT_EQ(AllocationsOf([&] { steps(small, false); }), 0) << optimizer.index();
    EXPECT_EQ(AllocationsOf([&] { steps(small, true); }), 0) << optimizer.index();
    EXPECT_EQ(AllocationsOf([&] { steps(full, false); }), 0) << optimizer.index();
    EXPECT_TRUE(good);
  }
}

TEST(AllocationTest, AWarmPredictionIntoItsPlaceAllocatesNothing) {
  const auto learner = NewLearner(Network(AdamSpec{}));
  const Rows rows = RegressionRows(300, 10, 1, 1);
  TrainOn(*learner, rows);
  const auto plan = learner->MakePlan();
  Matrix y(300, 1);
  const auto predict = [&] { plan->Predict(ViewOf(rows.x), MatrixView(y.data(), 300, 1)); };
  predict();
  EXPECT_EQ(AllocationsOf(predict), 0);
}

}  // namespace
}  // namespace lazynorm
