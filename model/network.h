#ifndef LAZYNORM_MODEL_NETWORK_H_
#define LAZYNORM_MODEL_NETWORK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/layer.h"
#include "model/matrix.h"
#include "model/plan_writer.h"
#include "model/spec.h"

namespace lazynorm {

// One entry of a torch state_dict.
struct StateTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;          // all but counters
  std::vector<int64_t> int64_values;  // counters
};

// The layers in order, resolved: torch.nn.Sequential. Holds the numbers of one pass, not those that
// outlive it. A pass, Forward and the Backward behind it, is one thread's, with no other network's
// pass between. Thread-compatible.
class Network {
 public:
  Network(const std::vector<LayerSpec>& specs, int in_features);
  // The same layers, without the numbers of a pass.
  Network(const Network& other) : Network(other.specs_, other.in_features()) {}
  Network(Network&&) = default;
  Network& operator=(Network&&) = default;

  int in_features() const { return widths_.front(); }
  int out_features() const { return widths_.back(); }
  int64_t parameter_count() const { return layout_.parameters(); }

  // torch's initial distributions, drawn from the seed.
  NetworkState Start(const Random& random) const;

  // Names, shapes and values in torch's order; values rounded to float32.
  std::vector<StateTensor> Tensors(const NetworkState& state) const;
  // The gradients of the latest Backward, under the names of their parameters.
  std::vector<StateTensor> Gradients() const;
  // INVALID_STATE unless `tensors` are exactly those of this network, finite, with no negative
  // variance or counter.
  absl::Status SetTensors(const std::vector<StateTensor>& tensors, NetworkState& state) const;

  // Runs all layers; x must outlive the Backward that follows. Returns [rows, out_features], valid
  // until the next call.
  ConstMatrixView Forward(const StepContext& step, ConstMatrixView x);

  // Of the latest Forward, with the same step. grad: dLoss/dout; may be written to. Returns the
  // gradients of all parameters; that of a bias which a batch norm cancels is exactly 0.
  const float* Backward(const StepContext& step, MatrixView grad);

  // A place for dLoss/dout of `rows` rows.
  MatrixView OutputGradient(int64_t rows);

  // The first layer that cannot do with one row, or -1.
  int FirstBatchLayer(Mode mode) const;
  bool HasDropout() const { return has_dropout_; }

  void AddTo(PlanWriter& plan, const NetworkState& state) const;

  // Of each batch norm, in order: its index, and its shift in the latest training pass.
  const std::vector<int>& batch_norm_layers() const { return batch_norm_layers_; }
  void BatchNormShifts(std::vector<double>& shifts) const;

 private:
  void ClearCancelledBiases(const StepContext& step);

  std::vector<LayerSpec> specs_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<int> widths_;  // before the first layer, then behind each
  Layout layout_;
  std::vector<int> batch_norm_layers_;
  // The layers that a pass runs, each with what it takes over from the one behind it.
  struct Stage {
    Layer* layer;
    int index, in, out;
  };
  std::vector<Stage> stages_;
  bool has_dropout_ = false;
  int first_trained_ = 0;  // the first layer with parameters: no gradient is needed before it

  ConstMatrixView x_;        // of the latest pass; what came of it is in the thread's Workspace
  Buffer<float> gradients_;  // of the latest Backward
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_NETWORK_H_
