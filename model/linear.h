#ifndef LAZYNORM_MODEL_LINEAR_H_
#define LAZYNORM_MODEL_LINEAR_H_

#include "model/layer.h"

namespace lazynorm {

// torch.nn.LazyLinear: y = x W^T + b, with W of shape [out_features, in_features].
//
//   dW = dy^T x        db = column sums of dy        dx = dy W
//
// Initially W and b are uniform in [-1/sqrt(in), 1/sqrt(in)), which is torch's
// kaiming_uniform_(a=sqrt(5)) (He et al. 2015).
class Linear : public Layer {
 public:
  // `index`: the place in the network.
  explicit Linear(const LinearSpec& spec, int index = 0) : spec_(spec), index_(index) {}

  int Resolve(int in_features, Layout& layout) override;
  void Initialize(const Random& random, NetworkState& state) const override;
  void Forward(const StepContext& step, ConstMatrixView x, MatrixView y) override;
  void Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView y,
                ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) override;
  void AddTo(PlanWriter& plan, const NetworkState& state) const override;
  bool PassesShift() const override { return true; }
  ParameterRange Bias() const override;
  bool HasParameters() const override { return true; }

 private:
  LinearSpec spec_;
  int index_;
  int in_ = 0;
  int64_t weight_ = 0, bias_ = 0;  // places among the parameters
  Buffer<double> sums_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_LINEAR_H_
