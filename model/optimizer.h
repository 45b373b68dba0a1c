#ifndef LAZYNORM_MODEL_OPTIMIZER_H_
#define LAZYNORM_MODEL_OPTIMIZER_H_

#include <cstdint>

#include "model/matrix.h"
#include "model/spec.h"

namespace lazynorm {

// Everything an optimizer remembers: `slots` runs, each as long as the parameters.
struct OptimizerState {
  Eigen::ArrayXf moments;
  int64_t steps = 0;

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.moments, self.steps);
  }
};

// torch.optim over one contiguous block of parameters. With g the clipped gradient, p a parameter
// and t = 1, 2, ... the step; every parameter is decayed and updated alike:
//
//   SGD      g += weight_decay p;  buf = g at t = 1, then momentum buf + (1 - dampening) g
//            p -= lr (nesterov ? g + momentum buf : buf), without momentum p -= lr g
//   Adam     g += weight_decay p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//            p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)        Kingma & Ba 2015
//            amsgrad: the largest v so far in the place of v                  Reddi et al. 2018
//   AdamW    p *= 1 - lr weight_decay first, g without decay           Loshchilov & Hutter 2019
//   RMSprop  g += weight_decay p;  v = alpha v + (1 - alpha) g^2;  centered: a likewise of g,
//            v - a^2, at least 0, in the place of v;  s = g / (sqrt(v) + eps)
//            p -= lr s, or lr buf with buf = momentum buf + s          Hinton 2012, Graves 2013
//   Adagrad  g += weight_decay p;  sum += g^2
//            p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(sum) + eps)           Duchi et al. 2011
//
// eps counts as 1e-19 at least, so that a gradient of exactly 0 never becomes 0 / 0. A learning
// rate changed in mid-course leaves moments and t alone. Immutable.
class Optimizer {
 public:
  explicit Optimizer(const OptimizerSpec& spec) : spec_(spec) {}

  // The state before the first step.
  OptimizerState Start(int64_t parameters) const;

  // One step: reads `parameters`, `gradients` (multiplied by `clip` first) and `state`, writes
  // `next_parameters` and `next`, all sized alike beforehand. False if a number came out infinite
  // or NaN.
  bool Step(const Eigen::ArrayXf& parameters, const float* gradients, double clip,
            const OptimizerState& state, Eigen::ArrayXf& next_parameters,
            OptimizerState& next) const;

 private:
  OptimizerSpec spec_;
};

// What every gradient is multiplied by so that their global norm is at most `clip_grad_norm` (0:
// off), as torch.nn.utils.clip_grad_norm_: min(1, clip_grad_norm / (norm + 1e-6)).
double ClipFactor(double norm, double clip_grad_norm);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_OPTIMIZER_H_
