#include "model/linear.h"

#include <algorithm>
#include <cmath>

#include "model/kernels.h"
#include "model/plan_writer.h"
#include "model/workspace.h"

namespace lazynorm {

int Linear::Resolve(int in_features, Layout& layout) {
  in_ = in_features;
  weight_ = layout.AddParameter("weight", {spec_.out_features, in_});
  if (spec_.bias) bias_ = layout.AddParameter("bias", {spec_.out_features});
  return spec_.out_features;
}

void Linear::Initialize(const Random& random, NetworkState& state) const {
  const double bound = 1 / std::sqrt(static_cast<double>(in_));
  const auto fill = [&](const Random& stream, int64_t offset, int64_t size) {
    for (int64_t i = 0; i < size; ++i) {
      state.parameters[offset + i] = static_cast<float>((2.0 * stream.Uniform(i) - 1.0) * bound);
    }
  };
  fill(random.Stream(0), weight_, int64_t{spec_.out_features} * in_);
  if (spec_.bias) fill(random.Stream(1), bias_, spec_.out_features);
}

void Linear::Forward(const StepContext& step, ConstMatrixView x, MatrixView y) {
  const Kernels& kernels = ActiveKernels();
  const int out = spec_.out_features;
  const float* parameters = step.state.parameters.data();
  float* packed = Workspace::OfThread().layer(index_).packed.Reserve(kernels.packed_size(in_, out));
  if (!step.again) kernels.pack({parameters + weight_, 1, in_}, in_, out, packed);
  kernels.gemm({x.rows(), out, in_}, {x.data(), in_, 1}, packed,
               spec_.bias ? parameters + bias_ : nullptr, false, y.data());
}

void Linear::Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView,
                      ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) {
  const Kernels& kernels = ActiveKernels();
  const int out = spec_.out_features;
  const int64_t rows = x.rows();
  float* packed = Workspace::OfThread().layer(index_).packed.Reserve(
      std::max(kernels.packed_size(rows, in_), kernels.packed_size(out, in_)));
  kernels.pack({x.data(), in_, 1}, rows, in_, packed);
  kernels.gemm({out, in_, rows}, {grad_y.data(), 1, out}, packed, nullptr, false,
               gradients + weight_);
  if (spec_.bias) {
    double* sums = sums_.Reserve(out);
    kernels.column_sums(grad_y.data(), rows, out, sums);
    for (int i = 0; i < out; ++i) gradients[bias_ + i] = static_cast<float>(sums[i]);
  }
  if (grad_x == nullptr) return;
  kernels.pack({step.state.parameters.data() + weight_, in_, 1}, out, in_, packed);
  kernels.gemm({rows, in_, out}, {grad_y.data(), out, 1}, packed, nullptr, false, grad_x->data());
}

void Linear::AddTo(PlanWriter& plan, const NetworkState& state) const {
  const float* parameters = state.parameters.data();
  plan.Linear(ConstMatrixView(parameters + weight_, spec_.out_features, in_),
              spec_.bias ? parameters + bias_ : nullptr);
}

ParameterRange Linear::Bias() const {
  return {bias_, spec_.bias ? spec_.out_features : 0};
}

}  // namespace lazynorm
