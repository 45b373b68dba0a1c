#ifndef LAZYNORM_MODEL_ACTIVATION_H_
#define LAZYNORM_MODEL_ACTIVATION_H_

#include <cstdint>

#include "model/layer.h"

namespace lazynorm {

// torch.nn's elementwise functions, s(x) being the logistic function:
//
//   Identity   x
//   ReLU       max(x, 0)                          derivative 0 at 0
//   LeakyReLU  x if x > 0, else negative_slope x  derivative negative_slope at 0
//   ELU        x if x > 0, else exp(x) - 1        Clevert et al. 2016
//   SELU       scale (x if x > 0, else alpha (exp(x) - 1))   Klambauer et al. 2017
//   GELU       x (1 + erf(x / sqrt 2)) / 2        Hendrycks & Gimpel 2016, the exact form
//   SiLU       x s(x)
//   Tanh, Sigmoid
//   Softplus   log(1 + exp(x)); x itself above 20
class Activation : public Layer {
 public:
  explicit Activation(const ActivationSpec& spec) : spec_(spec) {}

  int Resolve(int in_features, Layout&) override { return in_features; }
  void Forward(const StepContext& step, ConstMatrixView x, MatrixView y) override;
  void Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView y,
                ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) override;
  void AddTo(PlanWriter& plan, const NetworkState& state) const override;
  bool PassesShift() const override { return spec_.kind == ActivationKind::kIdentity; }

 private:
  ActivationSpec spec_;
};

// y[i] = f(x[i]); x may be y.
void Activate(const ActivationSpec& spec, const float* x, int64_t n, float* y);

// grad_x[i] = f'(x[i]) grad_y[i], given y = f(x).
void ActivateGradient(const ActivationSpec& spec, const float* x, const float* y,
                      const float* grad_y, int64_t n, float* grad_x);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_ACTIVATION_H_
