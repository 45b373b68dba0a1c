#ifndef LAZYNORM_MODEL_PLAN_WRITER_H_
#define LAZYNORM_MODEL_PLAN_WRITER_H_

#include "model/matrix.h"
#include "model/spec.h"

namespace lazynorm {

// What is told how a model predicts, layer by layer in their order: PlanBuilder makes a Plan of it,
// others a form for other programs. Thread-compatible.
class PlanWriter {
 public:
  virtual ~PlanWriter() = default;

  // What follows is another expert's network, of this weight; the first one's is 1 unless said.
  virtual void BeginExpert(double weight) = 0;
  // Names the layer that speaks next.
  virtual void BeginLayer(int index) = 0;
  // x weight^T + bias. weight: [out, in]; bias: [out] or null.
  virtual void Linear(ConstMatrixView weight, const float* bias) = 0;
  // weight * (x - mean) / sqrt(var + eps) + bias, 1 / 0 taken as 0; weight and bias may be null.
  // What is normalised is cut at +-cut first, unless that is 0.
  virtual void Normalize(const double* mean, const double* var, double eps, const float* weight,
                         const float* bias, float cut) = 0;
  // The same with the statistics of the batch that is predicted.
  virtual void NormalizeByBatch(double eps, const float* weight, const float* bias) = 0;
  virtual void Activate(const ActivationSpec& activation) = 0;
  // The end of an expert's network: y * std + mean.
  virtual void Denormalize(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& std) = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_PLAN_WRITER_H_
