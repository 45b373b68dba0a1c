#include "model/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "model/kernels.h"
#include "model/plan_writer.h"

namespace lazynorm {

int BatchNorm::Resolve(int in_features, Layout& layout) {
  features_ = in_features;
  if (spec_.affine) {
    weight_ = layout.AddParameter("weight", {features_});
    bias_ = layout.AddParameter("bias", {features_});
  }
  if (spec_.track_running_stats) {
    mean_ = layout.AddStatistic("running_mean", features_);
    var_ = layout.AddStatistic("running_var", features_);
    batches_ = layout.AddCounter("num_batches_tracked");
  }
  return features_;
}

void BatchNorm::Initialize(const Random&, NetworkState& state) const {
  if (spec_.affine) {
    state.parameters.segment(weight_, features_) = 1.0f;
    state.parameters.segment(bias_, features_) = 0.0f;
  }
  if (spec_.track_running_stats) {
    state.statistics.segment(mean_, features_) = 0.0;
    state.statistics.segment(var_, features_) = 1.0;
    state.counters[batches_] = 0;
  }
}

bool BatchNorm::UsesBatchStatistics(Mode mode) const {
  return (mode == Mode::kTrain && !running()) || !spec_.track_running_stats;
}

void BatchNorm::Measure(ConstMatrixView x) {
  const Kernels& kernels = ActiveKernels();
  double* mean = batch_mean_.Reserve(features_);
  kernels.column_sums(x.data(), x.rows(), features_, mean);
  for (int c = 0; c < features_; ++c) mean[c] /= x.rows();
  kernels.column_squares(x.data(), mean, x.rows(), features_, batch_squares_.Reserve(features_));
}

void BatchNorm::Track(const StepContext& step, int64_t rows) {
  const int64_t batches = step.state.counters[batches_] + 1;
  const double f = spec_.cumulative ? 1.0 / batches : spec_.momentum;
  const double* mean = RunningMean(step.state);
  const double* var = RunningVar(step.state);
  double* next_mean = step.next.statistics.data() + mean_;
  double* next_var = step.next.statistics.data() + var_;
  for (int c = 0; c < features_; ++c) {
    next_mean[c] = (1 - f) * mean[c] + f * batch_mean_.data()[c];
    next_var[c] = (1 - f) * var[c] + f * batch_squares_.data()[c] / (rows - 1);
  }
  step.next.counters[batches_] = batches;
}

void BatchNorm::TrackRunning(const StepContext& step, int64_t rows) {
  const int64_t batches = step.state.counters[batches_] + 1;
  const double share = 1.0 / batches;
  const double f = spec_.cumulative ? share : std::max(spec_.momentum, share);
  const double* mean = RunningMean(step.state);
  const double* var = RunningVar(step.state);
  double* next_mean = step.next.statistics.data() + mean_;
  double* next_var = step.next.statistics.data() + var_;
  for (int c = 0; c < features_; ++c) {
    const double d = batch_mean_.data()[c] - mean[c];
    next_var[c] = (1 - f) * (var[c] + f * d * d) + f * batch_squares_.data()[c] / rows;
    next_mean[c] = mean[c] + f * d;
  }
  step.next.counters[batches_] = batches;
}

void BatchNorm::MeasureShift(const NetworkState& state) {
  shift_ = 0;
  if (state.counters[batches_] == 0) return;
  const double* mean = RunningMean(state);
  double* inverse_std = inverse_std_.Reserve(features_);
  ActiveKernels().inverse_std(RunningVar(state), 1, spec_.eps, features_, inverse_std);
  for (int c = 0; c < features_; ++c) {
    const double d = (batch_mean_.data()[c] - mean[c]) * inverse_std[c];
    shift_ += d * d;
  }
  shift_ = std::sqrt(shift_ / features_);
}

void BatchNorm::Forward(const StepContext& step, ConstMatrixView x, MatrixView y) {
  const Kernels& kernels = ActiveKernels();
  const bool batch = UsesBatchStatistics(step.mode);
  const double* mean = nullptr;
  double* inverse_std = inverse_std_.Reserve(features_);
  if (step.mode != Mode::kEval || batch) Measure(x);
  if (spec_.track_running_stats && step.mode != Mode::kEval) MeasureShift(step.state);
  if (spec_.track_running_stats && step.mode == Mode::kTrain) {
    running() ? TrackRunning(step, x.rows()) : Track(step, x.rows());
  }
  if (batch) {
    mean = batch_mean_.data();
    kernels.inverse_std(batch_squares_.data(), static_cast<double>(x.rows()), spec_.eps, features_,
                        inverse_std);
  } else {
    const NetworkState& known = step.mode == Mode::kTrain ? step.next : step.state;
    mean = RunningMean(known);
    kernels.inverse_std(RunningVar(known), 1, spec_.eps, features_, inverse_std);
  }
  Normalize(step, x, mean, y);
}

void BatchNorm::Normalize(const StepContext& step, ConstMatrixView x, const double* mean,
                          MatrixView y) {
  const Kernels& kernels = ActiveKernels();
  const double* inverse_std = inverse_std_.data();
  const float* weight = step.state.parameters.data() + weight_;
  const float* bias = step.state.parameters.data() + bias_;
  float* xhat = spec_.affine ? Keep(x.size()) : y.data();
  if (spec_.affine && !running()) {
    return kernels.normalize(x.data(), mean, inverse_std, weight, bias, relu_, x.rows(), features_,
                             xhat, y.data());
  }
  kernels.standardize(x.data(), mean, inverse_std, x.rows(), features_, xhat);
  if (running()) {
    for (int64_t i = 0; i < x.size(); ++i) xhat[i] = std::clamp(xhat[i], -kCut, kCut);
  }
  if (!spec_.affine) return;
  kernels.scale_shift(xhat, weight, bias, x.rows(), features_, y.data());
  if (relu_) kernels.relu(y.data(), y.size(), y.data());
}

void BatchNorm::Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView y,
                         ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) {
  const Kernels& kernels = ActiveKernels();
  const int64_t rows = x.rows();
  const bool batch = UsesBatchStatistics(step.mode);
  const float* xhat = spec_.affine ? Keep(x.size()) : y.data();
  const float* gate = relu_ ? y.data() : nullptr;
  double* sum_g = sum_g_.Reserve(features_);
  double* sum_gx = sum_gx_.Reserve(features_);
  if (spec_.affine || batch) {
    kernels.column_dots(grad_y.data(), gate, xhat, rows, features_, sum_g, sum_gx);
  }
  if (spec_.affine) {
    for (int c = 0; c < features_; ++c) {
      gradients[weight_ + c] = static_cast<float>(sum_gx[c]);
      gradients[bias_ + c] = static_cast<float>(sum_g[c]);
    }
  }
  if (grad_x == nullptr) return;
  double* scale = inverse_std_.data();
  for (int c = 0; c < features_; ++c) {
    if (spec_.affine) scale[c] *= step.state.parameters[weight_ + c];
    sum_g[c] = batch ? sum_g[c] / rows : 0;
    sum_gx[c] = batch ? sum_gx[c] / rows : 0;
  }
  kernels.batch_norm_gradient(grad_y.data(), gate, xhat, sum_g, sum_gx, scale, rows, features_,
                              grad_x->data());
  if (!running()) return;
  for (int64_t i = 0; i < x.size(); ++i) {
    if (std::fabs(xhat[i]) >= kCut) grad_x->data()[i] = 0;
  }
}

void BatchNorm::AddTo(PlanWriter& plan, const NetworkState& state) const {
  const float* weight = spec_.affine ? state.parameters.data() + weight_ : nullptr;
  const float* bias = spec_.affine ? state.parameters.data() + bias_ : nullptr;
  if (spec_.track_running_stats) {
    plan.Normalize(RunningMean(state), RunningVar(state), spec_.eps, weight, bias,
                   running() ? kCut : 0);
  } else {
    plan.NormalizeByBatch(spec_.eps, weight, bias);
  }
}

ParameterRange BatchNorm::Bias() const {
  return {bias_, spec_.affine ? features_ : 0};
}

}  // namespace lazynorm
