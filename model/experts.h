#ifndef LAZYNORM_MODEL_EXPERTS_H_
#define LAZYNORM_MODEL_EXPERTS_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/batch.h"
#include "model/matrix.h"
#include "model/network.h"
#include "model/spec.h"

namespace lazynorm {

// Several learners predict as one: the average of their predictions, weighted by how well each has
// predicted lately. Weights are Hedge's (Freund & Schapire 1997), with losses that are forgotten:
//
//   L_k = discount L_k + loss_k(row), row by row        w_k = exp(-rate L_k) / sum_j exp(-rate L_j)
//
// A loss is that of the expert's own prediction before learning from the row: for classification
// the log loss of its probability, for regression the squared error (in normalised targets where
// those are on), both cut at kLossCut, so that one outlier does not decide. Values;
// thread-compatible.
class Hedge {
 public:
  static constexpr double kLossCut = 4;

  explicit Hedge(int experts = 1) : losses_(experts, 0.0), weights_(experts, 1.0 / experts) {}

  // One weight an expert; they add up to 1.
  const std::vector<double>& weights() const { return weights_; }
  const std::vector<double>& discounted_losses() const { return losses_; }

  // Takes in the outputs of one expert for the rows of a batch, targets in the outputs' units.
  void Observe(int expert, const LossSpec& loss, double discount, ConstMatrixView out,
               const Batch& batch);
  // New weights, after all experts have been observed.
  void Weigh(double rate);

  // Under "experts.discounted_loss", unless one predicts alone.
  static bool Owns(absl::string_view name);
  void AddTensors(std::vector<StateTensor>& tensors) const;
  // Takes the losses, whence the weights. INVALID_STATE unless they are one finite number an
  // expert, not negative.
  absl::Status SetTensor(const StateTensor& tensor, double rate);

  // Whether these are the weights of so many experts. False of what was damaged.
  bool Fit(size_t experts) const { return losses_.size() == experts && weights_.size() == experts; }

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.losses_, self.weights_);
  }

 private:
  std::vector<double> losses_;
  std::vector<double> weights_;
};

// Adds what an expert's outputs are averaged in, times `weight`: themselves for regression,
// probabilities for classification. sum: [rows, out_features].
void AddWeighted(LossKind kind, ConstMatrixView out, double weight, double* sum);

// The outputs that stand for such a sum, whose weights add up to 1: itself, or log-probabilities
// (cross entropy) and logits (BCE).
void FromAverage(LossKind kind, const double* sum, MatrixView out);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_EXPERTS_H_
