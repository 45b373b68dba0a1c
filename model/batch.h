#ifndef LAZYNORM_MODEL_BATCH_H_
#define LAZYNORM_MODEL_BATCH_H_

#include <cstdint>

#include "absl/types/span.h"
#include "model/matrix.h"

namespace lazynorm {

// Labelled rows. Owns nothing: the numbers must outlive it.
struct Batch {
  ConstMatrixView features;                // [rows, in_features]
  ConstMatrixView targets;                 // [rows, out_features]; empty where labels are used
  absl::Span<const int32_t> labels;        // one a row, or empty
  absl::Span<const float> sample_weights;  // one a row, or empty: all 1

  // The first rows of it.
  Batch first(int64_t n) const {
    return {features.first(n), targets.first(targets.rows() < n ? targets.rows() : n),
            labels.subspan(0, n), sample_weights.subspan(0, n)};
  }
  int64_t rows() const { return features.rows(); }
  double weight(int64_t row) const { return sample_weights.empty() ? 1.0 : sample_weights[row]; }
  double total_weight() const {
    if (sample_weights.empty()) return static_cast<double>(rows());
    double total = 0;
    for (float w : sample_weights) total += w;
    return total;
  }
  // Target of one output; a label stands for itself.
  float target(int64_t row, int64_t output) const {
    return labels.empty() ? targets(row, output) : static_cast<float>(labels[row]);
  }
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_BATCH_H_
