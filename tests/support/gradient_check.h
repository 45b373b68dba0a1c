#ifndef LAZYNORM_TESTS_SUPPORT_GRADIENT_CHECK_H_
#define LAZYNORM_TESTS_SUPPORT_GRADIENT_CHECK_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/layer.h"

namespace lazynorm {

// Holds a layer's Backward against differences of its Forward.
//
// The probe is sum c_i y_i with fixed c, summed in double. Differences are taken at four points,
// (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h, whose own error is of order h^4: h may then be as
// large as float32 outputs need.

// Four-point difference of f at `at`, which is moved and put back.
inline double Difference(float& at, float h, const std::function<double()>& f) {
  const float middle = at;
  const auto value = [&](float offset) {
    at = middle + offset;
    return f();
  };
  const double wide = value(2 * h) - value(-2 * h);
  const double narrow = value(h) - value(-h);
  at = middle;
  return (8 * narrow - wide) / (12.0 * h);
}

// One layer with everything a pass through it needs.
class GradientCheck {
 public:
  // x: the input, kept away from kinks by 2 h.
  GradientCheck(const LayerSpec& spec, Mode mode, const Matrix& x)
      : mode_(mode), x_(x), layer_(MakeLayer(spec, 0)) {
    Layout layout;
    layout.BeginLayer(0);
    const int out = layer_->Resolve(static_cast<int>(x.cols()), layout);
    tensors_ = layout.tensors();
    state_.parameters = Eigen::ArrayXf::Zero(layout.parameters());
    state_.statistics = Eigen::ArrayXd::Zero(layout.statistics());
    state_.counters.assign(layout.counters(), 0);
    layer_->Initialize(Random(3), state_);
    y_.resize(x.rows(), out);
    probe_.resize(x.rows(), out);
    for (int64_t i = 0; i < probe_.size(); ++i) probe_.data()[i] = 2 * Random(5).Uniform(i) - 1;
  }

  // To be changed before Run, where the initial numbers are too special.
  NetworkState& state() { return state_; }

  // Every gradient must agree within `bound` of the largest of its tensor.
  void Run(double bound = 1e-3, float h = 0.02f) {
    Matrix grad_x(x_.rows(), x_.cols());
    MatrixView grad_x_view(grad_x.data(), grad_x.rows(), grad_x.cols());
    std::vector<float> gradients(state_.parameters.size());
    Probe();
    NetworkState next = state_;
    layer_->Backward(Context(next), ViewOf(x_), ViewOf(y_), ViewOf(probe_), gradients.data(),
                     &grad_x_view);
    Compare("x", x_.data(), grad_x.data(), x_.size(), bound, h);
    for (const TensorInfo& info : tensors_) {
      if (info.kind != TensorKind::kParameter) continue;
      Compare(info.name, state_.parameters.data() + info.offset, gradients.data() + info.offset,
              info.size, bound, h);
    }
  }

 private:
  StepContext Context(NetworkState& next) const { return {mode_, Random(9), state_, next}; }

  double Probe() {
    NetworkState next = state_;
    layer_->Forward(Context(next), ViewOf(x_), MatrixView(y_.data(), y_.rows(), y_.cols()));
    double sum = 0;
    for (int64_t i = 0; i < y_.size(); ++i) {
      sum += static_cast<double>(probe_.data()[i]) * y_.data()[i];
    }
    return sum;
  }

  void Compare(const std::string& what, float* at, const float* gradient, int64_t n, double bound,
               float h) {
    double largest = 0.1;
    for (int64_t i = 0; i < n; ++i) largest = std::max<double>(largest, std::fabs(gradient[i]));
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(gradient[i], Difference(at[i], h, [this] { return Probe(); }), bound * largest)
          << what << " [" << i << "]";
    }
  }

  Mode mode_;
  Matrix x_, y_, probe_;
  std::unique_ptr<Layer> layer_;
  std::vector<TensorInfo> tensors_;
  NetworkState state_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_GRADIENT_CHECK_H_
