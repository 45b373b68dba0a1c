#ifndef LAZYNORM_MODEL_LEARNER_H_
#define LAZYNORM_MODEL_LEARNER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/command.h"
#include "model/network.h"
#include "model/optimizer.h"
#include "model/plan.h"
#include "model/request_window.h"
#include "model/spec.h"

namespace lazynorm {

// How the latest accepted step went.
struct StepDiagnostics {
  int64_t rows = 0;
  double gradient_norm = 0;              // before clipping
  double parameter_norm = 0;             // after the step
  std::vector<double> batch_norm_shift;  // of each batch norm, see BatchNorm::shift
};

// A model as a deterministic state machine: Apply is the one way in which it changes, and the same
// commands in the same order give the same state, bit for bit, on one kind of CPU. Pure: no clock,
// no thread, no file. A step writes its new state beside the old one and then takes its place, so a
// refused command leaves no trace. A warm step allocates nothing. Thread-compatible.
//
// Lazy until the first ResolveCommand or TrainCommand, unless its spec or its initial state say how
// wide the features are.
class Learner {
 public:
  // INVALID_SPEC, INVALID_STATE or LIMIT_EXCEEDED. `initial_state` may be empty; otherwise it must
  // hold every tensor of the model; the optimizer starts fresh.
  static absl::StatusOr<std::unique_ptr<Learner>> Create(
      ModelSpec spec, const Limits& limits, const std::vector<StateTensor>& initial_state = {});

  // Does what the command says, or refuses and changes nothing:
  // EMPTY_BATCH, WIDTH_MISMATCH, TOO_FEW_ROWS, TARGET_MISMATCH, SHAPE_MISMATCH, LABEL_OUT_OF_RANGE,
  // INVALID_WEIGHTS, LIMIT_EXCEEDED, REQUEST_ID_REUSED, INVALID_UPDATE (all INVALID_ARGUMENT);
  // ABORTED with NON_FINITE_STEP if loss, gradients, parameters or moments would not be finite.
  absl::StatusOr<StepResult> Apply(const Command& command);

  // The network as it predicts now; null while lazy.
  std::shared_ptr<const Plan> MakePlan() const;

  bool lazy() const { return network_ == nullptr; }
  const ModelSpec& spec() const { return spec_; }
  int64_t step() const { return step_; }
  int64_t rows_trained() const { return rows_trained_; }
  bool statistics_frozen() const { return frozen_; }
  int in_features() const { return lazy() ? 0 : network_->in_features(); }
  // Known even to a lazy model if it has a Linear; else 0.
  int out_features() const { return OutFeatures(spec_, in_features()); }
  int64_t parameter_count() const { return lazy() ? 0 : network_->parameter_count(); }

  // The state_dict, empty while lazy.
  std::vector<StateTensor> Tensors() const;
  // Gradients of the latest step that came as far as computing them, before clipping: also of one
  // that was refused for them. Empty before it.
  std::vector<StateTensor> Gradients() const;
  const StepDiagnostics& diagnostics() const { return diagnostics_; }

 private:
  Learner(ModelSpec spec, const Limits& limits);

  absl::StatusOr<StepResult> Do(const ResolveCommand& command);
  absl::StatusOr<StepResult> Do(const TrainCommand& command);
  absl::StatusOr<StepResult> Do(const UpdateCommand& command);
  absl::StatusOr<StepResult> Do(const FreezeStatisticsCommand& command);

  absl::Status CheckWidth(int columns) const;
  absl::Status CheckBatch(const Batch& batch, Mode mode) const;
  void Resolve(int in_features);
  void Unresolve();
  absl::StatusOr<StepResult> Learn(const Batch& batch, Mode mode);
  void Commit();

  ModelSpec spec_;
  Limits limits_;
  Optimizer optimizer_;
  std::unique_ptr<Network> network_;
  NetworkState state_, next_;
  OptimizerState moments_, next_moments_;
  int64_t step_ = 0;
  int64_t rows_trained_ = 0;
  bool frozen_ = false;
  RequestWindow requests_;
  StepDiagnostics diagnostics_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_LEARNER_H_
