#ifndef LAZYNORM_MODEL_TARGET_SCALE_H_
#define LAZYNORM_MODEL_TARGET_SCALE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/batch.h"
#include "model/matrix.h"
#include "model/network.h"

namespace lazynorm {

// Mean and deviation of the targets, tracked online as BatchNorm tracks its features with RUNNING:
// the network learns (y - mean) / std and predicts in the target's own units, so that a target
// around 300 does not take thousands of steps to be reached. Exactly invertible. A value;
// thread-compatible.
class TargetScale {
 public:
  TargetScale() = default;
  explicit TargetScale(int outputs)
      : mean_(Eigen::ArrayXd::Zero(outputs)), var_(Eigen::ArrayXd::Ones(outputs)) {}

  // Takes in the targets of a batch.
  void Track(const Batch& batch);

  const Eigen::ArrayXd& mean() const { return mean_; }
  const Eigen::ArrayXd& var() const { return var_; }
  int64_t batches() const { return batches_; }
  // Deviation of each output, above 0.
  Eigen::ArrayXd std() const;

  // Under "targets.running_mean", "targets.running_var", "targets.num_batches_tracked".
  static bool Owns(absl::string_view name);
  void AddTensors(std::vector<StateTensor>& tensors) const;
  // INVALID_STATE unless they are these three, finite and not negative.
  absl::Status SetTensors(const std::vector<StateTensor>& tensors);

  // Whether there is a scale for each output. False of what was damaged.
  bool Fit(int outputs) const { return mean_.size() == outputs && var_.size() == outputs; }

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.mean_, self.var_, self.batches_);
  }

  // In place, from the target's units and back.
  void Normalize(MatrixView targets) const;
  void Denormalize(MatrixView outputs) const;

 private:
  Eigen::ArrayXd mean_, var_;
  int64_t batches_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_TARGET_SCALE_H_
