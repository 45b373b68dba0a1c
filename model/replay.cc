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
  has_labels_ = !batch.labels.empty();
  targets_width_ = has_labels_ ? 0 : batch.targets.cols();
}

void RowBuffer::LabelsToTargets() {
  targets_.assign(labels_.begin(), labels_.end());
  targets_width_ = 1;
  labels_.clear();
  has_labels_ = false;
}

bool RowBuffer::Fit(int64_t in_features, int64_t out_features) const {
  const auto full = [this](const auto& values, int64_t width) {
    return std::ssize(values) == rows() * width;
  };
  if (rows() == 0) return features_.empty() && targets_.empty() && labels_.empty();
  if (features_width_ != in_features || !full(features_, in_features)) return false;
  if (!has_labels_) {
    return labels_.empty() && targets_width_ == out_features && full(targets_, out_features);
  }
  const int64_t classes = std::max<int64_t>(2, out_features);
  return full(labels_, 1) && std::all_of(labels_.begin(), labels_.end(), [classes](int32_t label) {
           return label >= 0 && label < classes;
         });
}

void RowBuffer::Append(const Batch& batch, int64_t row) {
  if (weights_.empty()) SetShape(batch);
  if (has_labels_ && batch.labels.empty()) LabelsToTargets();
  const float* x = batch.features.row(row);
  features_.insert(features_.end(), x, x + features_width_);
  if (has_labels_) {
    labels_.push_back(batch.labels[row]);
  } else {
    for (int64_t k = 0; k < targets_width_; ++k) targets_.push_back(batch.target(row, k));
  }
  weights_.push_back(static_cast<float>(batch.weight(row)));
}

void RowBuffer::Append(const RowBuffer& other, int64_t row) {
  Append(other.batch(), row);
}

void RowBuffer::Replace(int64_t place, const Batch& batch, int64_t row) {
  if (has_labels_ && batch.labels.empty()) LabelsToTargets();
  std::copy_n(batch.features.row(row), features_width_, features_.data() + place * features_width_);
  if (has_labels_) {
    labels_[place] = batch.labels[row];
  } else {
    float* target = targets_.data() + place * targets_width_;
    for (int64_t k = 0; k < targets_width_; ++k) target[k] = batch.target(row, k);
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
