#include "model/optimizer.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "model/kernels.h"

namespace lazynorm {
namespace {

float ToFloat(double v) {
  return static_cast<float>(v);
}

// Of a denominator. Below 1e-19 the squares of gradients have underflowed anyhow; a floor there
// keeps an eps of 0 from making 0 / 0 of a gradient that is exactly 0.
float Eps(double eps) {
  return ToFloat(std::max(eps, 1e-19));
}

// How many runs of moments each optimizer keeps.
int Slots(const SgdSpec& s) {
  return s.momentum > 0 ? 1 : 0;
}
int Slots(const AdamSpec& s) {
  return s.amsgrad ? 3 : 2;
}
int Slots(const AdamWSpec& s) {
  return s.amsgrad ? 3 : 2;
}
int Slots(const RmsPropSpec& s) {
  return 1 + (s.centered ? 1 : 0) + (s.momentum > 0 ? 1 : 0);
}
int Slots(const AdagradSpec&) {
  return 1;
}

bool Run(const SgdSpec& s, int64_t t, const OptimizerArrays& arrays) {
  const SgdStep step{.lr = ToFloat(s.lr),
                     .l2 = ToFloat(s.weight_decay),
                     .momentum = ToFloat(s.momentum),
                     .keep = t == 1 ? 1.0f : ToFloat(1 - s.dampening),
                     .use_buffer = s.momentum > 0,
                     .first = t == 1,
                     .nesterov = s.nesterov};
  return ActiveKernels().sgd(step, arrays);
}

template <class Spec>
AdamStep AdamCoefficients(const Spec& s, int64_t t) {
  return {.decay = 1.0f,
          .l2 = 0.0f,
          .beta1 = ToFloat(s.beta1),
          .beta2 = ToFloat(s.beta2),
          .one_minus_beta1 = ToFloat(1 - s.beta1),
          .one_minus_beta2 = ToFloat(1 - s.beta2),
          .step_size = ToFloat(s.lr / (1 - std::pow(s.beta1, static_cast<double>(t)))),
          .inverse_root = ToFloat(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(t)))),
          .eps = Eps(s.eps)};
}

bool Run(const AdamSpec& s, int64_t t, const OptimizerArrays& arrays) {
  AdamStep step = AdamCoefficients(s, t);
  step.l2 = ToFloat(s.weight_decay);
  return ActiveKernels().adam(step, s.amsgrad, arrays);
}

bool Run(const AdamWSpec& s, int64_t t, const OptimizerArrays& arrays) {
  AdamStep step = AdamCoefficients(s, t);
  step.decay = ToFloat(1 - s.lr * s.weight_decay);
  return ActiveKernels().adam(step, s.amsgrad, arrays);
}

bool Run(const RmsPropSpec& s, int64_t, const OptimizerArrays& arrays) {
  const RmsPropStep step{.lr = ToFloat(s.lr),
                         .l2 = ToFloat(s.weight_decay),
                         .alpha = ToFloat(s.alpha),
                         .one_minus_alpha = ToFloat(1 - s.alpha),
                         .eps = Eps(s.eps),
                         .momentum = ToFloat(s.momentum),
                         .centered = s.centered,
                         .use_buffer = s.momentum > 0};
  return ActiveKernels().rmsprop(step, arrays);
}

bool Run(const AdagradSpec& s, int64_t t, const OptimizerArrays& arrays) {
  const AdagradStep step{.rate = ToFloat(s.lr / (1 + (t - 1) * s.lr_decay)),
                         .l2 = ToFloat(s.weight_decay),
                         .eps = Eps(s.eps)};
  return ActiveKernels().adagrad(step, arrays);
}

}  // namespace

OptimizerState Optimizer::Start(int64_t parameters) const {
  const int slots = std::visit([](const auto& s) { return Slots(s); }, spec_);
  OptimizerState state;
  state.moments = Eigen::ArrayXf::Zero(slots * parameters);
  if (const auto* adagrad = std::get_if<AdagradSpec>(&spec_)) {
    state.moments = ToFloat(adagrad->initial_accumulator_value);
  }
  return state;
}

bool Optimizer::Step(const Eigen::ArrayXf& parameters, const float* gradients, double clip,
                     const OptimizerState& state, Eigen::ArrayXf& next_parameters,
                     OptimizerState& next) const {
  next.steps = state.steps + 1;
  const OptimizerArrays arrays{.n = parameters.size(),
                               .clip = ToFloat(clip),
                               .p = parameters.data(),
                               .g = gradients,
                               .moments = state.moments.data(),
                               .new_p = next_parameters.data(),
                               .new_moments = next.moments.data()};
  return std::visit([&](const auto& s) { return Run(s, next.steps, arrays); }, spec_);
}

double ClipFactor(double norm, double clip_grad_norm) {
  return clip_grad_norm > 0 ? std::min(1.0, clip_grad_norm / (norm + 1e-6)) : 1.0;
}

}  // namespace lazynorm
