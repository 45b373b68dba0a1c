#ifndef LAZYNORM_MODEL_DROPOUT_H_
#define LAZYNORM_MODEL_DROPOUT_H_

#include "model/layer.h"

namespace lazynorm {

// torch.nn.Dropout (Srivastava et al. 2014): in training, each element is 0 with probability p and
// multiplied by 1 / (1 - p) otherwise; identity in evaluation. An element's fate depends on seed,
// step, layer, row and column alone, so the same step has the same mask on any machine.
class Dropout : public Layer {
 public:
  Dropout(const DropoutSpec& spec, int index) : spec_(spec), index_(index) {}

  int Resolve(int in_features, Layout&) override { return in_features; }
  void Forward(const StepContext& step, ConstMatrixView x, MatrixView y) override;
  void Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView y,
                ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) override;
  bool DependsOnMode() const override { return true; }
  void AddTo(PlanWriter&, const NetworkState&) const override {}

 private:
  void Mask(const StepContext& step, const float* in, int64_t n, float* out) const;

  DropoutSpec spec_;
  int index_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_DROPOUT_H_
