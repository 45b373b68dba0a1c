#include "model/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tests/model/testing.h"

namespace lazynorm {
namespace {

// torch.optim once more, for one parameter, in double.
struct Reference {
  double p = 0, m = 0, v = 0, extra = 0;
  int t = 0;

  void Step(const SgdSpec& s, double g) {
    ++t;
    g += s.weight_decay * p;
    if (s.momentum > 0) {
      m = t == 1 ? g : s.momentum * m + (1 - s.dampening) * g;
      g = s.nesterov ? g + s.momentum * m : m;
    }
    p -= s.lr * g;
  }

  template <class Spec>
  void Adam(const Spec& s, double g) {
    ++t;
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    extra = std::max(extra, v);
    const double root = std::sqrt(s.amsgrad ? extra : v) / std::sqrt(1 - std::pow(s.beta2, t));
    p -= s.lr / (1 - std::pow(s.beta1, t)) * m / (root + s.eps);
  }
  void Step(const AdamSpec& s, double g) { Adam(s, g + s.weight_decay * p); }
  void Step(const AdamWSpec& s, double g) {
    p *= 1 - s.lr * s.weight_decay;
    Adam(s, g);
  }

  void Step(const RmsPropSpec& s, double g) {
    g += s.weight_decay * p;
    v = s.alpha * v + (1 - s.alpha) * g * g;
    extra = s.alpha * extra + (1 - s.alpha) * g;
    g /= std::sqrt(s.centered ? std::max(0.0, v - extra * extra) : v) + s.eps;
    m = s.momentum * m + g;
    p -= s.lr * (s.momentum > 0 ? m : g);
  }

  void Step(const AdagradSpec& s, double g) {
    if (t == 0) v = s.initial_accumulator_value;
    g += s.weight_decay * p;
    v += g * g;
    p -= s.lr / (1 + t++ * s.lr_decay) * g / (std::sqrt(v) + s.eps);
  }
};

// An optimizer over a handful of parameters, stepping from one state into another.
struct Course {
  Optimizer optimizer;
  Eigen::ArrayXf parameters, next_parameters;
  OptimizerState state, next;

  Course(const OptimizerSpec& spec, const Eigen::ArrayXf& start)
      : optimizer(spec), parameters(start), next_parameters(start) {
    state = next = optimizer.Start(start.size());
  }
  bool Step(const Eigen::ArrayXf& gradients, double clip = 1) {
    if (!optimizer.Step(parameters, gradients.data(), clip, state, next_parameters, next)) {
      return false;
    }
    std::swap(parameters, next_parameters);
    std::swap(state, next);
    return true;
  }
};

Eigen::ArrayXf Numbers(int n, uint64_t seed) {
  return Normal(1, n, seed).row(0).transpose().array();
}

constexpr int kParameters = 19;

void ExpectFiftyStepsAsInDouble(const OptimizerSpec& spec, double clip) {
  Course course(spec, Numbers(kParameters, 1));
  std::vector<Reference> references(kParameters);
  for (int i = 0; i < kParameters; ++i) references[i].p = course.parameters[i];
  for (int t = 0; t < 50; ++t) {
    const Eigen::ArrayXf gradients = Numbers(kParameters, 100 + t) + 0.2f;
    ASSERT_TRUE(course.Step(gradients, clip));
    for (int i = 0; i < kParameters; ++i) {
      std::visit([&](const auto& s) { references[i].Step(s, gradients[i] * clip); }, spec);
      ASSERT_NEAR(course.parameters[i], references[i].p, 2e-5) << "step " << t + 1;
    }
  }
  EXPECT_EQ(course.state.steps, 50);
}

void ExpectLikeReference(const OptimizerSpec& spec) {
  for (const Kernels* kernels : AvailableKernels()) {
    ASSERT_TRUE(UseKernels(kernels->level));
    ExpectFiftyStepsAsInDouble(spec, 1);
    ExpectFiftyStepsAsInDouble(spec, 0.375);
  }
  UseKernels(AvailableKernels().front()->level);
}

TEST(OptimizerTest, SgdIsTorchs) {
  ExpectLikeReference(SgdSpec{.lr = 0.05});
  ExpectLikeReference(SgdSpec{.lr = 0.05, .weight_decay = 0.1});
  ExpectLikeReference(SgdSpec{.lr = 0.05, .momentum = 0.9});
  ExpectLikeReference(SgdSpec{.lr = 0.05, .momentum = 0.9, .dampening = 0.4, .weight_decay = 0.1});
  ExpectLikeReference(SgdSpec{.lr = 0.05, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true});
}

TEST(OptimizerTest, AdamIsTorchs) {
  ExpectLikeReference(AdamSpec{});
  ExpectLikeReference(
      AdamSpec{.lr = 0.05, .beta1 = 0.5, .beta2 = 0.9, .eps = 0.01, .weight_decay = 0.1});
  ExpectLikeReference(AdamSpec{.lr = 0.05, .beta2 = 0.5, .amsgrad = true});
  ExpectLikeReference(AdamSpec{.lr = 0.05, .beta1 = 0});
}

TEST(OptimizerTest, AdamWIsTorchs) {
  ExpectLikeReference(AdamWSpec{});
  ExpectLikeReference(AdamWSpec{.lr = 0.05, .eps = 0.01, .weight_decay = 0.3, .amsgrad = true});
}

TEST(OptimizerTest, RmsPropIsTorchs) {
  ExpectLikeReference(RmsPropSpec{});
  ExpectLikeReference(RmsPropSpec{.alpha = 0.5, .eps = 0.01, .weight_decay = 0.1});
  ExpectLikeReference(RmsPropSpec{.lr = 1e-3, .momentum = 0.9});
  ExpectLikeReference(RmsPropSpec{.lr = 1e-3, .alpha = 0.8, .eps = 0.1, .centered = true});
  ExpectLikeReference(
      RmsPropSpec{.lr = 1e-3, .alpha = 0.8, .eps = 0.1, .momentum = 0.9, .centered = true});
}

TEST(OptimizerTest, AdagradIsTorchs) {
  ExpectLikeReference(AdagradSpec{});
  ExpectLikeReference(AdagradSpec{.lr = 0.1,
                                  .lr_decay = 0.1,
                                  .weight_decay = 0.1,
                                  .initial_accumulator_value = 0.5,
                                  .eps = 0.01});
}

const std::vector<OptimizerSpec>& AllOptimizers() {
  static const std::vector<OptimizerSpec> all = {SgdSpec{},
                                                 SgdSpec{.momentum = 0.9},
                                                 AdamSpec{},
                                                 AdamSpec{.amsgrad = true},
                                                 AdamWSpec{},
                                                 RmsPropSpec{},
                                                 AdagradSpec{},
                                                 RmsPropSpec{.momentum = 0.9},
                                                 RmsPropSpec{.centered = true}};
  return all;
}

TEST(OptimizerTest, AGradientOfZeroMovesNothingWithoutDecay) {
  for (OptimizerSpec spec : AllOptimizers()) {
    std::visit([](auto& s) { s.weight_decay = 0; }, spec);
    Course course(spec, Numbers(5, 1));
    const Eigen::ArrayXf start = course.parameters;
    for (int t = 0; t < 3; ++t) ASSERT_TRUE(course.Step(Eigen::ArrayXf::Zero(5)));
    EXPECT_TRUE((course.parameters == start).all()) << spec.index();
  }
}

TEST(OptimizerTest, AnEpsOfZeroStandsAGradientOfZero) {
  const std::vector<OptimizerSpec> specs = {AdamSpec{.eps = 0},
                                            AdamWSpec{.eps = 0, .weight_decay = 0},
                                            RmsPropSpec{.eps = 0}, AdagradSpec{.eps = 0}};
  for (const OptimizerSpec& spec : specs) {
    Course course(spec, Numbers(3, 1));
    const Eigen::ArrayXf start = course.parameters;
    Eigen::ArrayXf gradients(3);
    gradients << 1, 0, -1e-4f;
    ASSERT_TRUE(course.Step(gradients)) << spec.index();
    EXPECT_EQ(course.parameters[1], start[1]);
    Reference large{.p = start[0]}, small{.p = start[2]};
    std::visit([&](const auto& s) { large.Step(s, 1), small.Step(s, -1e-4f); }, spec);
    EXPECT_NEAR(course.parameters[0], large.p, 1e-6);
    EXPECT_NEAR(course.parameters[2], small.p, 1e-6);
  }
}

TEST(OptimizerTest, TheFirstNumberThatIsNotFiniteIsReported) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const OptimizerSpec& spec : AllOptimizers()) {
    for (int at = 0; at < kParameters; ++at) {
      for (const float bad : {nan, infinity, -infinity}) {
        Course course(spec, Numbers(kParameters, 1));
        Eigen::ArrayXf gradients = Numbers(kParameters, 2);
        gradients[at] = bad;
        EXPECT_FALSE(course.Step(gradients)) << spec.index() << " at " << at;
      }
    }
  }
}

TEST(OptimizerTest, ASquareThatOverflowsIsReported) {
  const Eigen::ArrayXf gradients = Eigen::ArrayXf::Constant(3, 1e20f);
  for (const OptimizerSpec& spec :
       {OptimizerSpec(AdamSpec{.beta2 = 0.1}), OptimizerSpec(RmsPropSpec{.alpha = 0.1}),
        OptimizerSpec(AdagradSpec{})}) {
    EXPECT_FALSE(Course(spec, Numbers(3, 1)).Step(gradients)) << spec.index();
  }
}

TEST(OptimizerTest, StateIsAsManyRunsAsTheOptimizerNeeds) {
  const auto runs = [](const OptimizerSpec& spec) {
    return Optimizer(spec).Start(10).moments.size() / 10;
  };
  EXPECT_EQ(runs(SgdSpec{}), 0);
  EXPECT_EQ(runs(SgdSpec{.momentum = 0.9}), 1);
  EXPECT_EQ(runs(AdamSpec{}), 2);
  EXPECT_EQ(runs(AdamWSpec{.amsgrad = true}), 3);
  EXPECT_EQ(runs(RmsPropSpec{}), 1);
  EXPECT_EQ(runs(RmsPropSpec{.momentum = 0.9, .centered = true}), 3);
  EXPECT_EQ(runs(AdagradSpec{}), 1);
  EXPECT_EQ(Optimizer(AdagradSpec{.initial_accumulator_value = 0.5}).Start(2).moments[1], 0.5f);
}

TEST(ClipFactorTest, ShortensWhatIsTooLongAndLeavesTheRest) {
  EXPECT_EQ(ClipFactor(5, 0), 1);
  EXPECT_EQ(ClipFactor(0.5, 1), 1);
  EXPECT_DOUBLE_EQ(ClipFactor(4, 1), 1 / (4 + 1e-6));
  EXPECT_DOUBLE_EQ(ClipFactor(1e-6, 1e-6), 0.5);
  EXPECT_EQ(ClipFactor(0, 1), 1);
}

}  // namespace
}  // namespace lazynorm
