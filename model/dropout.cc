#include "model/dropout.h"

#include <algorithm>

namespace lazynorm {

void Dropout::Mask(const StepContext& step, const float* in, int64_t n, float* out) const {
  if (step.mode == Mode::kEval || spec_.p == 0) {
    std::copy(in, in + n, out);
    return;
  }
  const Random random = step.random.Stream(index_);
  const float p = static_cast<float>(spec_.p);
  const float scale = static_cast<float>(1 / (1 - spec_.p));
  for (int64_t i = 0; i < n; ++i) out[i] = random.Uniform(i) < p ? 0.0f : in[i] * scale;
}

void Dropout::Forward(const StepContext& step, ConstMatrixView x, MatrixView y) {
  Mask(step, x.data(), x.size(), y.data());
}

void Dropout::Backward(const StepContext& step, ConstMatrixView, ConstMatrixView,
                       ConstMatrixView grad_y, float*, MatrixView* grad_x) {
  if (grad_x != nullptr) Mask(step, grad_y.data(), grad_y.size(), grad_x->data());
}

}  // namespace lazynorm
