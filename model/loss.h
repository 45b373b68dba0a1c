#ifndef LAZYNORM_MODEL_LOSS_H_
#define LAZYNORM_MODEL_LOSS_H_

#include "absl/status/status.h"
#include "model/batch.h"
#include "model/matrix.h"
#include "model/spec.h"

namespace lazynorm {

// torch.nn's losses with mean reduction, and sample weights w as torch weighs classes:
//
//   loss = sum_i w_i l_i / sum_i w_i        l_i: mean over the outputs of row i; d = out - y
//
//   MSE            d^2
//   L1             |d|
//   SmoothL1       d^2 / (2 beta) if |d| < beta, else |d| - beta / 2; beta = 0 is L1
//   Huber          d^2 / 2 if |d| <= delta, else delta (|d| - delta / 2)
//   BCEWithLogits  (1 - y) z + (1 + (p - 1) y) (log1p(exp(-|z|)) + max(-z, 0)), p = pos_weight
//   CrossEntropy   log sum_c exp(z_c) - z_y, the largest logit taken out first
//
// All sums are in double. `batch` must have passed CheckTargets.

// The loss of the outputs, [rows, out_features].
double LossValue(const LossSpec& loss, ConstMatrixView out, const Batch& batch);

// The same, and its gradient with respect to every output.
double LossGradient(const LossSpec& loss, ConstMatrixView out, const Batch& batch,
                    MatrixView gradient);

// TARGET_MISMATCH, SHAPE_MISMATCH, LABEL_OUT_OF_RANGE or INVALID_WEIGHTS unless targets or labels
// and weights fit this loss, the rows and out_features. torch would broadcast where this refuses.
absl::Status CheckTargets(const LossSpec& loss, const Batch& batch, int out_features);

// What the outputs mean as probabilities, in place: softmax for cross entropy, the logistic
// function for BCE. INVALID_ARGUMENT for other losses.
absl::Status ToProbabilities(const LossSpec& loss, MatrixView out);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_LOSS_H_
