#ifndef LAZYNORM_MODEL_PLAN_H_
#define LAZYNORM_MODEL_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/matrix.h"
#include "model/plan_writer.h"
#include "model/spec.h"

namespace lazynorm {

// A model as it predicts: running statistics folded into the linear layers, dropout gone, the scale
// of the targets folded into the last of them, experts averaged (experts.h). Folding
// is done in double and rounded once. Each row's prediction is the same bit for bit whatever rows
// are beside it. Immutable, thread-safe.
//
// A batch norm behind a Linear disappears into it. One in front of a Linear subtracts its mean in
// double, the rest goes into the Linear: a column such as 736000 +- 1 keeps its digits.
class Plan {
 public:
  int64_t step() const { return step_; }
  int in_features() const { return in_features_; }
  int out_features() const { return out_features_; }
  const LossSpec& loss() const { return loss_; }

  // EMPTY_BATCH, WIDTH_MISMATCH, or TOO_FEW_ROWS where a batch norm tracks nothing and would have
  // to normalise one row by itself.
  absl::Status Check(ConstMatrixView x) const;

  // x: [rows, in_features], checked; y: [rows, out_features].
  void Predict(ConstMatrixView x, MatrixView y) const;

  // Check, then Predict into a matrix of its own.
  absl::StatusOr<Matrix> Predict(ConstMatrixView x) const;

  // Whether rows may be predicted apart from each other: always, but where a batch norm tracks
  // nothing.
  bool rows_are_independent() const { return batch_layer_ < 0; }

  // Multiplications that one row costs.
  int64_t work_per_row() const { return work_per_row_; }

 private:
  friend class PlanBuilder;

  enum class Kind { kLinear, kStandardize, kScaleShift, kNormalizeByBatch, kCut, kActivate };
  struct Stage {
    Kind kind;
    int in = 0, out = 0;
    Eigen::ArrayXf packed;        // kLinear: weight, packed for the kernels
    bool relu = false;            // kLinear: one follows
    Eigen::ArrayXf scale, shift;  // kLinear: shift; kScaleShift: both
    Eigen::ArrayXd mean, factor;  // kStandardize
    double eps = 0;               // kNormalizeByBatch
    float cut = 0;                // kCut
    ActivationSpec activation;    // kActivate
  };

  struct Expert {
    double weight = 1;
    std::vector<Stage> stages;
  };

  void PredictBlock(ConstMatrixView x, MatrixView y) const;
  void PredictExpert(const Expert& expert, ConstMatrixView x, MatrixView y) const;
  void Run(const Stage& stage, const float* x, int64_t rows, float* y) const;

  std::vector<Expert> experts_;
  int64_t step_ = 0;
  int in_features_ = 0, out_features_ = 0, widest_ = 0;
  int batch_layer_ = -1;  // a layer that looks at the whole batch, or -1
  int64_t work_per_row_ = 0;
  LossSpec loss_;
};

// Collects what the layers say, in their order, into a Plan. What they give must outlive Build.
class PlanBuilder final : public PlanWriter {
 public:
  PlanBuilder(int in_features, int64_t step, const LossSpec& loss);

  void BeginExpert(double weight) override;
  void BeginLayer(int index) override { layer_ = index; }
  void Linear(ConstMatrixView weight, const float* bias) override;
  void Normalize(const double* mean, const double* var, double eps, const float* weight,
                 const float* bias, float cut) override;
  void NormalizeByBatch(double eps, const float* weight, const float* bias) override;
  void Activate(const ActivationSpec& activation) override;
  void Denormalize(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& std) override;

  Plan Build() &&;

 private:
  // A linear layer that a batch norm behind it may still change, in double.
  struct Open {
    ConstMatrixView weight;
    Eigen::ArrayXd in_scale, out_scale, bias;
  };

  void Close();
  void EndExpert();
  void Affine(const Eigen::ArrayXd& scale, const Eigen::ArrayXd& shift);
  void NormalizeAndCut(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& inverse_std, float cut,
                       const Eigen::ArrayXd& scale, const Eigen::ArrayXd& shift);
  Plan::Stage& Add(Plan::Kind kind, int out);

  Plan plan_;
  int width_;
  int layer_ = 0;
  bool is_open_ = false;
  Open open_;
  // y = x * scale + shift still to be done, when has_affine_.
  bool has_affine_ = false;
  Eigen::ArrayXd scale_, shift_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_PLAN_H_
