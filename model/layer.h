#ifndef LAZYNORM_MODEL_LAYER_H_
#define LAZYNORM_MODEL_LAYER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/matrix.h"
#include "model/random.h"
#include "model/spec.h"

namespace lazynorm {

class PlanWriter;

// Every number of a network that outlives a step. Layers own none of them: they know where in these
// blocks theirs lie, so that a step can write a whole new state beside the old one.
struct NetworkState {
  Eigen::ArrayXf parameters;      // trained
  Eigen::ArrayXd statistics;      // running means and variances
  std::vector<int64_t> counters;  // num_batches_tracked

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.parameters, self.statistics, self.counters);
  }
};

enum class TensorKind { kParameter, kStatistic, kCounter };

// One tensor of the state_dict: where in its block it lies.
struct TensorInfo {
  std::string name;
  TensorKind kind;
  std::vector<int64_t> shape;
  int64_t offset;
  int64_t size;
};

// Hands out places in the blocks of a NetworkState, in the order of the state_dict.
class Layout {
 public:
  // Names what is added next "<layer>.<name>".
  void BeginLayer(int index) { layer_ = index; }
  // Each returns the offset.
  int64_t AddParameter(const char* name, std::vector<int64_t> shape);
  int64_t AddStatistic(const char* name, int64_t size);
  int64_t AddCounter(const char* name);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  int64_t parameters() const { return parameters_; }
  int64_t statistics() const { return statistics_; }
  int64_t counters() const { return counters_; }

 private:
  int64_t Add(const char* name, TensorKind kind, std::vector<int64_t> shape, int64_t& end);

  int layer_ = 0;
  int64_t parameters_ = 0, statistics_ = 0, counters_ = 0;
  std::vector<TensorInfo> tensors_;
};

enum class Mode {
  kTrain,   // batch statistics, which move the running ones; dropout
  kFrozen,  // running statistics as constants; dropout
  kEval,    // running statistics as constants; no dropout
};

// What a pass through the layers is given.
struct StepContext {
  Mode mode;
  Random random;              // of this step
  const NetworkState& state;  // read
  NetworkState& next;         // kTrain writes its statistics and counters here
  // Whether the latest pass was of the same step and the same state, and forward: what it made of
  // the parameters alone is still good.
  bool again = false;
};

// A run of parameters.
struct ParameterRange {
  int64_t offset = 0;
  int64_t size = 0;
};

// One stage of a Network: its widths and mathematics; no threads, no files. Built from its spec
// with widths unknown, resolved once, then used. Thread-compatible.
class Layer {
 public:
  virtual ~Layer() = default;

  // Fixes in_features and claims places for the state. Returns out_features.
  virtual int Resolve(int in_features, Layout& layout) = 0;

  // Writes the initial state; `random` is this layer's own.
  virtual void Initialize(const Random& random, NetworkState& state) const {
    (void)random, (void)state;
  }

  // x: [rows, in_features], y: [rows, out_features]. Keeps what Backward needs.
  virtual void Forward(const StepContext& step, ConstMatrixView x, MatrixView y) = 0;

  // Of the latest Forward, with its x and y. grad_y: dLoss/dy. Writes dLoss/dparameter into its own
  // places in `gradients` and, if grad_x is not null, dLoss/dx.
  virtual void Backward(const StepContext& step, ConstMatrixView x, ConstMatrixView y,
                        ConstMatrixView grad_y, float* gradients, MatrixView* grad_x) = 0;

  // Says what this layer does to a prediction.
  virtual void AddTo(PlanWriter& plan, const NetworkState& state) const = 0;

  // Whether y depends on the other rows of the batch.
  virtual bool UsesBatchStatistics(Mode) const { return false; }
  // Whether adding a constant to x adds another constant to y, whatever x: such layers carry a bias
  // through to a batch norm that cancels it.
  virtual bool PassesShift() const { return false; }
  // Whether y may be another one in another mode.
  virtual bool DependsOnMode() const { return false; }
  // Asks the layer to do the ReLU behind it as well: y is then what comes out of that. False: no.
  virtual bool TakeRelu() { return false; }
  // The bias, if there is one.
  virtual ParameterRange Bias() const { return {}; }
  virtual bool HasParameters() const { return false; }
};

// A layer of any kind, unresolved; `index` is its place in the network.
std::unique_ptr<Layer> MakeLayer(const LayerSpec& spec, int index);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_LAYER_H_
