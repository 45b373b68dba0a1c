#ifndef LAZYNORM_CLIENT_CLI_BATCHES_H_
#define LAZYNORM_CLIENT_CLI_BATCHES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/examples.h"
#include "lazynorm/v1/prediction_service.pb.h"
#include "lazynorm/v1/tensor.pb.h"
#include "lazynorm/v1/training_service.pb.h"

namespace lazynorm {

using Batch = std::vector<Example>;

// Cuts a stream of examples into batches. Batch statistics need two rows, so a single row left over
// at the end joins the batch before it, unless batches are of one row anyway; for this a batch is
// held back until the next one has two rows. Thread-compatible.
class BatchReader {
 public:
  // `examples` must outlive it. `rows`: at least 1.
  BatchReader(ExampleReader* examples, int rows) : examples_(examples), rows_(rows) {}

  // The next batch, empty at the end.
  absl::StatusOr<Batch> Next();

 private:
  // Reads on until `batch` has `rows`, or the end.
  absl::Status Fill(Batch* batch, size_t rows);

  ExampleReader* const examples_;
  const size_t rows_;
  Batch begun_;
  bool at_end_ = false;
};

v1::Matrix FeaturesOf(const Batch& batch);

// Targets or labels, whichever `loss` takes, and the weights if `weighted`.
template <typename Request>
void SetTargets(const Batch& batch, v1::LossKind loss, bool weighted, Request* request) {
  if (loss != v1::LOSS_KIND_CROSS_ENTROPY) {
    v1::Matrix* targets = request->mutable_targets();
    targets->set_rows(static_cast<int>(batch.size()));
    targets->set_columns(batch.empty() ? 0 : static_cast<int>(batch[0].targets.size()));
    for (const Example& row : batch) {
      targets->mutable_values()->Add(row.targets.begin(), row.targets.end());
    }
  }
  for (const Example& row : batch) {
    if (loss == v1::LOSS_KIND_CROSS_ENTROPY) request->add_labels(row.label);
    if (weighted) request->add_sample_weights(row.weight);
  }
}

// The ids of the rows.
template <typename Request>
void SetPredictionIds(const Batch& batch, Request* request) {
  for (const Example& row : batch) request->add_prediction_ids(row.id);
}

// The sum of the weights.
double WeightOf(const Batch& batch);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_BATCHES_H_
