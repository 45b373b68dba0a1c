#ifndef LAZYNORM_MODEL_REPLAY_H_
#define LAZYNORM_MODEL_REPLAY_H_

#include <cstdint>
#include <vector>

#include "model/batch.h"
#include "model/random.h"

namespace lazynorm {

// Labelled rows with memory of their own. Every row has a weight, and all have targets or all have
// labels: as soon as a row comes with a target, labels become the targets that they stand for.
class RowBuffer {
 public:
  int64_t rows() const { return static_cast<int64_t>(weights_.size()); }
  int64_t width() const { return features_width_; }

  void Clear();
  void Append(const Batch& batch, int64_t row);
  void Append(const RowBuffer& other, int64_t row);
  void Replace(int64_t place, const Batch& batch, int64_t row);

  void Truncate(int64_t rows);

  // Whether these are whole rows for a network of these widths. False of what was damaged.
  bool Fit(int64_t in_features, int64_t out_features) const;

  // The rows so far; good until the next change.
  Batch batch() const;
  // The targets, to be changed in place.
  MatrixView targets();

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.features_width_, self.targets_width_, self.has_labels_, self.features_,
            self.targets_, self.weights_, self.labels_);
  }

 private:
  void SetShape(const Batch& batch);
  void LabelsToTargets();

  int64_t features_width_ = 0, targets_width_ = 0;
  bool has_labels_ = false;
  std::vector<float> features_, targets_, weights_;
  std::vector<int32_t> labels_;
};

// A uniform sample of all rows ever seen, `capacity` of them: algorithm R (Vitter: "Random sampling
// with a reservoir", 1985). Which rows are kept and drawn depends on the random numbers given and
// on how many rows were seen, nothing else. Thread-compatible.
class Reservoir {
 public:
  explicit Reservoir(int capacity) : capacity_(capacity) {}

  // Keeps as many of the rows as fit.
  void SetCapacity(int capacity);

  int64_t seen() const { return seen_; }
  int64_t size() const { return rows_.rows(); }
  const RowBuffer& rows() const { return rows_; }

  // Each row of the batch takes the place of a kept one with the chance capacity / seen.
  void Add(const Batch& batch, const Random& random);

  // Appends `count` different rows (all, if fewer are kept), each set of rows as likely as any
  // other (Floyd's algorithm: Bentley & Floyd, "A sample of brilliance", 1987).
  void Draw(int64_t count, const Random& random, RowBuffer& out);

  // All but the capacity.
  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.seen_, self.rows_);
  }

 private:
  int capacity_;
  int64_t seen_ = 0;
  RowBuffer rows_;
  std::vector<bool> drawn_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_REPLAY_H_
