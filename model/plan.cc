#include "model/plan.h"

#include <algorithm>
#include <utility>

#include "model/activation.h"
#include "model/batch_norm.h"
#include "model/errors.h"
#include "model/experts.h"
#include "model/kernels.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

// Rows that go through all stages together: enough to reuse weights, few enough to stay in cache.
constexpr int64_t kRowsPerBlock = 128;

// Two places for intermediate results of a thread; they only grow.
struct Scratch {
  Buffer<float> halves[2];
  Buffer<double> statistics;
  Buffer<double> average;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

Eigen::ArrayXd Widen(const float* values, int n, double otherwise) {
  if (values == nullptr) return Eigen::ArrayXd::Constant(n, otherwise);
  return Eigen::Map<const Eigen::ArrayXf>(values, n).cast<double>();
}

// In place: x = (x - mean of the column) / std of the column.
void NormalizeColumns(float* x, int64_t rows, int width, double eps) {
  const Kernels& kernels = ActiveKernels();
  double* mean = ThreadScratch().statistics.Reserve(2 * int64_t{width});
  double* factor = mean + width;
  kernels.column_sums(x, rows, width, mean);
  for (int c = 0; c < width; ++c) mean[c] /= rows;
  kernels.column_squares(x, mean, rows, width, factor);
  kernels.inverse_std(factor, static_cast<double>(rows), eps, width, factor);
  kernels.standardize(x, mean, factor, rows, width, x);
}

}  // namespace

absl::Status Plan::Check(ConstMatrixView x) const {
  if (x.rows() == 0) return EmptyBatch();
  if (x.cols() != in_features_) return WidthMismatch(in_features_, static_cast<int>(x.cols()));
  if (x.rows() < 2 && batch_layer_ >= 0) return TooFewRows(batch_layer_);
  return absl::OkStatus();
}

void Plan::Predict(ConstMatrixView x, MatrixView y) const {
  const int64_t block = batch_layer_ >= 0 ? x.rows() : kRowsPerBlock;
  for (int64_t i = 0; i < x.rows(); i += block) {
    const int64_t rows = std::min(block, x.rows() - i);
    PredictBlock(ConstMatrixView(x.data() + i * x.cols(), rows, x.cols()),
                 MatrixView(y.data() + i * y.cols(), rows, y.cols()));
  }
}

absl::StatusOr<Matrix> Plan::Predict(ConstMatrixView x) const {
  RETURN_IF_ERROR(Check(x));
  Matrix y(x.rows(), out_features_);
  Predict(x, ViewOf(y));
  return y;
}

void Plan::PredictBlock(ConstMatrixView x, MatrixView y) const {
  if (experts_.size() == 1) return PredictExpert(experts_[0], x, y);
  double* sum = ThreadScratch().average.Reserve(y.size());
  std::fill_n(sum, y.size(), 0.0);
  for (const Expert& expert : experts_) {
    PredictExpert(expert, x, y);
    AddWeighted(loss_.kind, y, expert.weight, sum);
  }
  FromAverage(loss_.kind, sum, y);
}

void Plan::PredictExpert(const Expert& expert, ConstMatrixView x, MatrixView y) const {
  Scratch& scratch = ThreadScratch();
  const float* in = x.data();
  for (size_t i = 0; i < expert.stages.size(); ++i) {
    const bool last = i + 1 == expert.stages.size();
    float* out = last ? y.data() : scratch.halves[i % 2].Reserve(x.rows() * widest_);
    Run(expert.stages[i], in, x.rows(), out);
    in = out;
  }
}

void Plan::Run(const Stage& stage, const float* x, int64_t rows, float* y) const {
  const Kernels& kernels = ActiveKernels();
  const int64_t n = rows * stage.in;
  switch (stage.kind) {
    case Kind::kLinear:
      return kernels.gemm({rows, stage.out, stage.in}, {x, stage.in, 1}, stage.packed.data(),
                          stage.shift.data(), stage.relu, y);
    case Kind::kStandardize:
      return kernels.standardize(x, stage.mean.data(), stage.factor.data(), rows, stage.in, y);
    case Kind::kScaleShift:
      return kernels.scale_shift(x, stage.scale.data(), stage.shift.data(), rows, stage.in, y);
    case Kind::kNormalizeByBatch:
      std::copy(x, x + n, y);
      return NormalizeColumns(y, rows, stage.in, stage.eps);
    case Kind::kCut:
      for (int64_t i = 0; i < n; ++i) y[i] = std::clamp(x[i], -stage.cut, stage.cut);
      return;
    case Kind::kActivate:
      return Activate(stage.activation, x, n, y);
  }
}

PlanBuilder::PlanBuilder(int in_features, int64_t step, const LossSpec& loss)
    : width_(in_features) {
  plan_.in_features_ = in_features;
  plan_.step_ = step;
  plan_.loss_ = loss;
  plan_.experts_.emplace_back();
}

void PlanBuilder::BeginExpert(double weight) {
  if (!plan_.experts_.back().stages.empty() || is_open_ || has_affine_) {
    EndExpert();
    plan_.experts_.emplace_back();
    width_ = plan_.in_features_;
  }
  plan_.experts_.back().weight = weight;
}

Plan::Stage& PlanBuilder::Add(Plan::Kind kind, int out) {
  Plan::Stage& stage = plan_.experts_.back().stages.emplace_back();
  stage.kind = kind;
  stage.in = width_;
  stage.out = out;
  plan_.widest_ = std::max(plan_.widest_, out);
  plan_.work_per_row_ += kind == Plan::Kind::kLinear ? int64_t{width_} * out : width_;
  width_ = out;
  return stage;
}

void PlanBuilder::Linear(ConstMatrixView weight, const float* bias) {
  if (is_open_) Close();
  const int out = static_cast<int>(weight.rows());
  open_.weight = weight;
  open_.out_scale = Eigen::ArrayXd::Ones(out);
  open_.bias = Widen(bias, out, 0);
  if (has_affine_) {
    open_.in_scale = scale_;
    open_.bias += (ToEigen(weight).cast<double>() * shift_.matrix()).array();
    has_affine_ = false;
  } else {
    open_.in_scale = Eigen::ArrayXd::Ones(width_);
  }
  is_open_ = true;
}

void PlanBuilder::Normalize(const double* mean, const double* var, double eps, const float* weight,
                            const float* bias, float cut) {
  const int n = is_open_ ? static_cast<int>(open_.out_scale.size()) : width_;
  const Eigen::Map<const Eigen::ArrayXd> center(mean, n);
  Eigen::ArrayXd inverse_std(n);
  ActiveKernels().inverse_std(var, 1, eps, n, inverse_std.data());
  const Eigen::ArrayXd shift = Widen(bias, n, 0);
  if (cut > 0) return NormalizeAndCut(center, inverse_std, cut, Widen(weight, n, 1), shift);
  const Eigen::ArrayXd scale = Widen(weight, n, 1) * inverse_std;
  if (is_open_) {
    open_.out_scale *= scale;
    open_.bias = (open_.bias - center) * scale + shift;
  } else if (has_affine_) {
    scale_ *= scale;
    shift_ = (shift_ - center) * scale + shift;
  } else {
    Plan::Stage& stage = Add(Plan::Kind::kStandardize, width_);
    stage.mean = center;
    stage.factor = Eigen::ArrayXd::Ones(n);
    Affine(scale, shift);
  }
}

void PlanBuilder::NormalizeAndCut(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& inverse_std,
                                  float cut, const Eigen::ArrayXd& scale,
                                  const Eigen::ArrayXd& shift) {
  if (is_open_) {
    open_.out_scale *= inverse_std;
    open_.bias = (open_.bias - mean) * inverse_std;
    Close();
  } else {
    Close();
    Plan::Stage& stage = Add(Plan::Kind::kStandardize, width_);
    stage.mean = mean;
    stage.factor = inverse_std;
  }
  Add(Plan::Kind::kCut, width_).cut = cut;
  Affine(scale, shift);
}

void PlanBuilder::NormalizeByBatch(double eps, const float* weight, const float* bias) {
  Close();
  Add(Plan::Kind::kNormalizeByBatch, width_).eps = eps;
  if (plan_.batch_layer_ < 0) plan_.batch_layer_ = layer_;
  if (weight != nullptr) Affine(Widen(weight, width_, 1), Widen(bias, width_, 0));
}

void PlanBuilder::Activate(const ActivationSpec& activation) {
  if (activation.kind == ActivationKind::kIdentity) return;
  const bool behind_linear = is_open_;
  Close();
  if (behind_linear && activation.kind == ActivationKind::kRelu) {
    plan_.experts_.back().stages.back().relu = true;
    return;
  }
  Add(Plan::Kind::kActivate, width_).activation = activation;
}

void PlanBuilder::Affine(const Eigen::ArrayXd& scale, const Eigen::ArrayXd& shift) {
  scale_ = scale;
  shift_ = shift;
  has_affine_ = true;
}

// Rounds what is still open into a stage.
void PlanBuilder::Close() {
  if (is_open_) {
    const Kernels& kernels = ActiveKernels();
    const int out = static_cast<int>(open_.out_scale.size());
    const int in = width_;
    Plan::Stage& stage = Add(Plan::Kind::kLinear, out);
    stage.packed.resize(kernels.packed_size(in, out));
    kernels.pack_scaled({open_.weight.data(), 1, in}, open_.in_scale.data(), open_.out_scale.data(),
                        in, out, stage.packed.data());
    stage.shift = open_.bias.cast<float>();
    is_open_ = false;
  }
  if (has_affine_) {
    Plan::Stage& stage = Add(Plan::Kind::kScaleShift, width_);
    stage.scale = scale_.cast<float>();
    stage.shift = shift_.cast<float>();
    has_affine_ = false;
  }
}

void PlanBuilder::Denormalize(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& std) {
  if (is_open_) {
    open_.out_scale *= std;
    open_.bias = open_.bias * std + mean;
  } else if (has_affine_) {
    scale_ *= std;
    shift_ = shift_ * std + mean;
  } else {
    Affine(std, mean);
  }
}

void PlanBuilder::EndExpert() {
  Close();
  plan_.out_features_ = width_;
  if (plan_.experts_.back().stages.empty()) {  // identity alone
    Affine(Eigen::ArrayXd::Ones(width_), Eigen::ArrayXd::Zero(width_));
    Close();
  }
}

Plan PlanBuilder::Build() && {
  EndExpert();
  return std::move(plan_);
}

}  // namespace lazynorm
