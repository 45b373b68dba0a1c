#include "client/cli/batches.h"

#include <utility>

namespace lazynorm {

absl::Status BatchReader::Fill(Batch* batch, size_t rows) {
  while (!at_end_ && batch->size() < rows) {
    Example example;
    const absl::StatusOr<bool> found = examples_->Next(&example);
    if (!found.ok()) return found.status();
    if (*found) {
      batch->push_back(std::move(example));
    } else {
      at_end_ = true;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Batch> BatchReader::Next() {
  Batch batch = std::move(begun_);
  begun_.clear();
  if (absl::Status status = Fill(&batch, rows_); !status.ok()) return status;
  if (rows_ > 1) {
    if (absl::Status status = Fill(&begun_, 2); !status.ok()) return status;
    if (begun_.size() == 1) {
      batch.push_back(std::move(begun_.front()));
      begun_.clear();
    }
  }
  return batch;
}

v1::Matrix FeaturesOf(const Batch& batch) {
  v1::Matrix matrix;
  if (batch.empty()) return matrix;
  matrix.set_rows(static_cast<int>(batch.size()));
  matrix.set_columns(static_cast<int>(batch[0].features.size()));
  matrix.mutable_values()->Reserve(static_cast<int>(batch.size() * batch[0].features.size()));
  for (const Example& row : batch) {
    matrix.mutable_values()->Add(row.features.begin(), row.features.end());
  }
  return matrix;
}

double WeightOf(const Batch& batch) {
  double sum = 0;
  for (const Example& row : batch) sum += row.weight;
  return sum;
}

}  // namespace lazynorm
