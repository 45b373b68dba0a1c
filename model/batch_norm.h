#ifndef LAZYNORM_MODEL_BATCH_NORM_H_
#define LAZYNORM_MODEL_BATCH_NORM_H_

#include "model/layer.h"
#include "model/workspace.h"

namespace lazynorm {

// torch.nn.LazyBatchNorm1d over [rows, features] (Ioffe & Szegedy 2015, Alg. 1 and 2). Per column,
// with N rows, training:
//
//   mean = sum x / N                var = sum (x - mean)^2 / N       biased: normalises
//   xhat = (x - mean) / sqrt(var + eps)        y = weight * xhat + bias
//   running = (1 - f) running + f batch        with N - 1 in the variance: remembered
//
// f is `momentum`, the share of the new batch, or 1 / (batches so far) if cumulative. Otherwise
// (frozen, evaluation) the running statistics take the place of the batch's, as constants, unless
// they are not tracked. Backward, g = dy:
//
//   dbias = sum g      dweight = sum g xhat      dx = weight (g - sum g / N - xhat sum(g xhat) / N)
//   / std with constants:    dx = weight g / std
//
// training_statistics RUNNING is lazynorm's own, for streams whose batches do not look like the
// data: training first updates, then normalises with the updated statistics as constants, cut at
// kCut. With u and v the batch's mean and biased variance, n the number of batches so far and d = u
// - running_mean:
//
//   f = max(momentum, 1 / n)       (cumulative: 1 / n)
//   running_var = (1 - f) (running_var + f d^2) + f v        running_mean += f d
//   xhat = clip((x - running_mean) / sqrt(running_var + eps), -kCut, kCut)
//
// The floor of 1 / n lets the first batches count alike (the initial 0 and 1 leave no trace), and
// f d^2 counts the variance between batches, so that rows one at a time give the variance of all of
// them: the parallel update of Chan, Golub & LeVeque 1979 with exponential weights. One row is
// enough. The cut belongs to prediction as well.
//
// Where var + eps is 0, 1 / std is taken as 0, as torch does. Two passes, in double: a constant
// column, however large, normalises to exactly 0. Statistics count every row once, whatever its
// sample weight.
class BatchNorm : public Layer {
 public:
  // Where RUNNING cuts what it has normalised.
  static constexpr float kCut = 10;

  // `index`: the place in the network.
  explicit BatchNorm(const BatchNormSpec& spec, int index = 0) : spec_(spec), index_(index) {}

  int Resolve(int in_features, Layout& layout) override;
  void Initialize(const Random& random, NetworkState& state) const override;
  void Forward(const StepContext& step, ConstMatrixView x, MatrixView y) override;
  void Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView y,
                ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) override;
  void AddTo(PlanWriter& plan, const NetworkState& state) const override;
  bool UsesBatchStatistics(Mode mode) const override;
  bool DependsOnMode() const override { return true; }
  bool TakeRelu() override { return relu_ = spec_.affine; }
  bool PassesShift() const override { return true; }
  ParameterRange Bias() const override;
  bool HasParameters() const override { return spec_.affine; }

  // How far the mean of the latest training batch lay from the running mean before it, in running
  // standard deviations: root mean square over the columns. 0 before the first batch, and where
  // nothing is tracked.
  double shift() const { return shift_; }

 private:
  const double* RunningMean(const NetworkState& s) const { return s.statistics.data() + mean_; }
  const double* RunningVar(const NetworkState& s) const { return s.statistics.data() + var_; }
  bool running() const { return spec_.training_statistics == TrainingStatistics::kRunning; }
  void Measure(ConstMatrixView x);
  void Track(const StepContext& step, int64_t rows);
  void TrackRunning(const StepContext& step, int64_t rows);
  void MeasureShift(const NetworkState& state);
  void Normalize(const StepContext& step, ConstMatrixView x, const double* mean, MatrixView y);

  float* Keep(int64_t size) { return Workspace::OfThread().layer(index_).kept.Reserve(size); }

  BatchNormSpec spec_;
  int index_;
  int features_ = 0;
  bool relu_ = false;                         // does the one behind as well
  int64_t weight_ = 0, bias_ = 0;             // places among the parameters
  int64_t mean_ = 0, var_ = 0, batches_ = 0;  // among the statistics, and the counters
  double shift_ = 0;
  // Of the latest Forward: the batch's mean and sum of squares, and 1 / std.
  Buffer<double> batch_mean_, batch_squares_, inverse_std_, sum_g_, sum_gx_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_BATCH_NORM_H_
