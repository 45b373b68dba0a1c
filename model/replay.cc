#include "model/replay.h"

#include <algorithm>

namespace lazynorm {
namespace {

// Uniform in [0, below), by the high half of a product (Lemire 2019, without rejection: the bias is
// below 2^-32 for any reservoir).
int64_t Below(int64_t below, uint64_t bits) {
  return static_cast<int64_t>((static_cast<unsigned __int128>(bits) * below) >> 64);
}

}  // namespace

void RowBuffer::Clear() {
  features_.clear();
  targets_.clear();
  weights_.clear();
  labels_.clear();
}

void RowBuffer::SetShape(const Batch& batch) {
  features_width_ = batch.features.cols();
  targets_width_ = batch.targets.cols();
  has_labels_ = !batch.labels.empty();
}

void RowBuffer::Append(const Batch& batch, int64_t row) {
  if (weights_.empty()) SetShape(batch);
  const float* x = batch.features.row(row);
  features_.insert(features_.end(), x, x + features_width_);
  if (has_labels_) {
    labels_.push_back(batch.labels[row]);
  } else {
    const float* y = batch.targets.row(row);
    targets_.insert(targets_.end(), y, y + targets_width_);
  }
  weights_.push_back(static_cast<float>(batch.weight(row)));
}

void RowBuffer::Append(const RowBuffer& other, int64_t row) {
  Append(other.batch(), row);
}

void RowBuffer::Replace(int64_t place, const Batch& batch, int64_t row) {
  std::copy_n(batch.features.row(row), features_width_, features_.data() + place * features_width_);
  if (has_labels_) {
    labels_[place] = batch.labels[row];
  } else {
    std::copy_n(batch.targets.row(row), targets_width_, targets_.data() + place * targets_width_);
  }
  weights_[place] = static_cast<float>(batch.weight(row));
}

Batch RowBuffer::batch() const {
  return {.features = {features_.data(), rows(), features_width_},
          .targets = {targets_.data(), has_labels_ ? 0 : rows(), targets_width_},
          .labels = labels_,
          .sample_weights = weights_};
}

MatrixView RowBuffer::targets() {
  return {targets_.data(), has_labels_ ? 0 : rows(), targets_width_};
}

void RowBuffer::Truncate(int64_t rows) {
  if (rows >= this->rows()) return;
  features_.resize(rows * features_width_);
  targets_.resize(rows * targets_width_);
  weights_.resize(rows);
  if (has_labels_) labels_.resize(rows);
}

void Reservoir::SetCapacity(int capacity) {
  capacity_ = capacity;
  rows_.Truncate(capacity);
}

void Reservoir::Add(const Batch& batch, const Random& random) {
  for (int64_t row = 0; row < batch.rows() && capacity_ > 0; ++row, ++seen_) {
    if (rows_.rows() < capacity_) {
      rows_.Append(batch, row);
      continue;
    }
    const int64_t place = Below(seen_ + 1, random.Bits(seen_));
    if (place < capacity_) rows_.Replace(place, batch, row);
  }
}

void Reservoir::Draw(int64_t count, const Random& random, RowBuffer& out) {
  const int64_t n = rows_.rows();
  count = std::min(count, n);
  drawn_.assign(n, false);
  const Batch kept = rows_.batch();
  for (int64_t j = n - count; j < n; ++j) {
    const int64_t pick = Below(j + 1, random.Bits(j));
    const int64_t row = drawn_[pick] ? j : pick;
    drawn_[row] = true;
    out.Append(kept, row);
  }
}

}  // namespace lazynorm
