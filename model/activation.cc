#include "model/activation.h"

#include <cmath>

#include "model/kernels.h"
#include "model/plan_writer.h"

namespace lazynorm {
namespace {

constexpr float kSeluAlpha = 1.6732632423543772848170429916717f;
constexpr float kSeluScale = 1.0507009873554804934193349852946f;
constexpr float kInverseSqrt2 = 0.70710678118654752440f;
constexpr float kInverseSqrt2Pi = 0.39894228040143267794f;

// Neither branch overflows.
float Logistic(float x) {
  const float e = std::exp(-std::fabs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

float Cdf(float x) {
  return 0.5f * (1 + std::erf(x * kInverseSqrt2));
}

// Runs f over all elements; a template, so that the simple ones become vector loops.
template <class F>
void Each(const float* x, int64_t n, float* y, F f) {
  for (int64_t i = 0; i < n; ++i) y[i] = f(x[i]);
}

// grad_x = grad_y * f(x, y)
template <class F>
void EachGradient(const float* x, const float* y, const float* grad_y, int64_t n, float* grad_x,
                  F f) {
  for (int64_t i = 0; i < n; ++i) grad_x[i] = grad_y[i] * f(x[i], y[i]);
}

}  // namespace

void Activate(const ActivationSpec& spec, const float* x, int64_t n, float* y) {
  switch (spec.kind) {
    case ActivationKind::kIdentity:
      return Each(x, n, y, [](float v) { return v; });
    case ActivationKind::kRelu:
      return ActiveKernels().relu(x, n, y);
    case ActivationKind::kLeakyRelu: {
      const float slope = static_cast<float>(spec.negative_slope);
      return Each(x, n, y, [slope](float v) { return v > 0 ? v : slope * v; });
    }
    case ActivationKind::kElu:
      return Each(x, n, y, [](float v) { return v > 0 ? v : std::expm1(v); });
    case ActivationKind::kSelu:
      return Each(x, n, y,
                  [](float v) { return kSeluScale * (v > 0 ? v : kSeluAlpha * std::expm1(v)); });
    case ActivationKind::kGelu:
      return Each(x, n, y, [](float v) { return v * Cdf(v); });
    case ActivationKind::kSilu:
      return Each(x, n, y, [](float v) { return v * Logistic(v); });
    case ActivationKind::kTanh:
      return Each(x, n, y, [](float v) { return std::tanh(v); });
    case ActivationKind::kSigmoid:
      return Each(x, n, y, [](float v) { return Logistic(v); });
    case ActivationKind::kSoftplus:
      return Each(x, n, y, [](float v) { return v > 20 ? v : std::log1p(std::exp(v)); });
  }
}

void ActivateGradient(const ActivationSpec& spec, const float* x, const float* y, const float* g,
                      int64_t n, float* grad_x) {
  switch (spec.kind) {
    case ActivationKind::kIdentity:
      return EachGradient(x, y, g, n, grad_x, [](float, float) { return 1.0f; });
    case ActivationKind::kRelu:
      return ActiveKernels().relu_gradient(x, g, n, grad_x);
    case ActivationKind::kLeakyRelu: {
      const float slope = static_cast<float>(spec.negative_slope);
      return EachGradient(x, y, g, n, grad_x,
                          [slope](float v, float) { return v > 0 ? 1.0f : slope; });
    }
    case ActivationKind::kElu:
      return EachGradient(x, y, g, n, grad_x,
                          [](float v, float) { return v > 0 ? 1.0f : std::exp(v); });
    case ActivationKind::kSelu:
      return EachGradient(x, y, g, n, grad_x, [](float v, float) {
        return kSeluScale * (v > 0 ? 1.0f : kSeluAlpha * std::exp(v));
      });
    case ActivationKind::kGelu:
      return EachGradient(x, y, g, n, grad_x, [](float v, float) {
        return Cdf(v) + v * std::exp(-0.5f * v * v) * kInverseSqrt2Pi;
      });
    case ActivationKind::kSilu:
      return EachGradient(x, y, g, n, grad_x, [](float v, float) {
        const float s = Logistic(v);
        return s * (1 + v * (1 - s));
      });
    case ActivationKind::kTanh:
      return EachGradient(x, y, g, n, grad_x, [](float, float t) { return 1 - t * t; });
    case ActivationKind::kSigmoid:
      return EachGradient(x, y, g, n, grad_x, [](float, float s) { return s * (1 - s); });
    case ActivationKind::kSoftplus:
      return EachGradient(x, y, g, n, grad_x,
                          [](float v, float) { return v > 20 ? 1.0f : Logistic(v); });
  }
}

void Activation::Forward(const StepContext&, ConstMatrixView x, MatrixView y) {
  Activate(spec_, x.data(), x.size(), y.data());
}

void Activation::Backward(const StepContext&, ConstMatrixView x, ConstMatrixView y,
                          ConstMatrixView grad_y, float*, MatrixView* grad_x) {
  if (grad_x != nullptr) {
    ActivateGradient(spec_, x.data(), y.data(), grad_y.data(), x.size(), grad_x->data());
  }
}

void Activation::AddTo(PlanWriter& plan, const NetworkState&) const {
  plan.Activate(spec_);
}

}  // namespace lazynorm
