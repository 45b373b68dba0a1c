#ifndef LAZYNORM_MODEL_LEARNER_H_
#define LAZYNORM_MODEL_LEARNER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/command.h"
#include "model/drift.h"
#include "model/experts.h"
#include "model/network.h"
#include "model/optimizer.h"
#include "model/plan.h"
#include "model/remembered.h"
#include "model/replay.h"
#include "model/request_window.h"
#include "model/spare_states.h"
#include "model/spec.h"
#include "model/target_scale.h"

namespace lazynorm {

// How the latest accepted step went; norms and shifts are those of the heaviest expert.
struct StepDiagnostics {
  int64_t rows = 0;                      // of the request
  double loss = 0;                       // StepResult::loss, but in the target's own units
  double gradient_norm = 0;              // before clipping
  double parameter_norm = 0;             // after the step
  std::vector<double> batch_norm_shift;  // of each batch norm, see BatchNorm::shift
  std::vector<double> expert_weights;    // after the step
  double drift_level = 0;                // see DriftDetector::level

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.rows, self.loss, self.gradient_norm, self.parameter_norm, self.batch_norm_shift,
            self.expert_weights, self.drift_level);
  }
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

  // All but the spec, every bit: a learner that Load makes of both does what this one would.
  std::string Save() const;
  // INVALID_SPEC, or INVALID_STATE if `state` is not what Save wrote of a learner with this spec.
  static absl::StatusOr<std::unique_ptr<Learner>> Load(ModelSpec spec, const Limits& limits,
                                                       absl::string_view state);

  // A learner of the same state: both do the same with the same commands.
  std::unique_ptr<Learner> Copy() const { return std::unique_ptr<Learner>(new Learner(*this)); }

  // Does what the command says, or refuses and changes nothing:
  // EMPTY_BATCH, WIDTH_MISMATCH, TOO_FEW_ROWS, TARGET_MISMATCH, SHAPE_MISMATCH, LABEL_OUT_OF_RANGE,
  // INVALID_WEIGHTS, LIMIT_EXCEEDED, REQUEST_ID_REUSED, INVALID_UPDATE (all INVALID_ARGUMENT);
  // NOT_FOUND with UNKNOWN_PREDICTION_ID;
  // ABORTED with NON_FINITE_STEP if loss, gradients, parameters, moments or statistics would not be
  // finite float32.
  absl::StatusOr<StepResult> Apply(const Command& command);

  // The network as it predicts now; null while lazy.
  std::shared_ptr<const Plan> MakePlan() const;
  // Tells the same to another writer, which hears nothing from a lazy one.
  void AddTo(PlanWriter& writer) const;

  bool lazy() const { return !network_.has_value(); }
  const ModelSpec& spec() const { return spec_; }
  int64_t step() const { return step_; }
  int64_t rows_trained() const { return rows_trained_; }
  bool statistics_frozen() const { return frozen_; }
  // Survives all commands but the TrainCommand that names it.
  const RememberedPredictions& remembered() const { return remembered_; }
  int in_features() const { return lazy() ? 0 : network_->in_features(); }
  // Known even to a lazy model if it has a Linear; else 0.
  int out_features() const { return OutFeatures(spec_, in_features()); }
  // Of all experts together.
  int64_t parameter_count() const;

  // The state_dict, empty while lazy.
  std::vector<StateTensor> Tensors() const;
  // Gradients of the latest step that came as far as computing them, before clipping: also of one
  // that was refused for them. Empty before it.
  std::vector<StateTensor> Gradients() const;
  const StepDiagnostics& diagnostics() const { return diagnostics_; }
  // What each expert counts in predictions; they add up to 1. Empty while lazy.
  std::vector<double> expert_weights() const {
    return lazy() ? std::vector<double>() : hedge_.weights();
  }
  // Watches the prequential loss.
  const DriftDetector& drift() const { return drift_; }
  // A hash of the numbers that predictions come from: whether two learners are alike bit for bit.
  uint64_t StateHash() const;

 private:
  Learner(ModelSpec spec, const Limits& limits);
  Learner(const Learner&) = default;
  Learner& operator=(Learner&&) = default;

  absl::StatusOr<StepResult> Do(const ResolveCommand& command);
  absl::StatusOr<StepResult> Do(const TrainCommand& command);
  absl::StatusOr<StepResult> Do(const UpdateCommand& command);
  absl::StatusOr<StepResult> Do(const FreezeStatisticsCommand& command);
  absl::StatusOr<StepResult> Do(const RememberCommand& command);
  absl::StatusOr<StepResult> Do(const RestoreCommand& command);

  // One of the learners of this model: numbers only, the network is shared.
  struct Expert {
    ExpertSpec spec;
    Optimizer optimizer;
    NetworkState state;
    OptimizerState moments;
    Reservoir replay;
    // Where a step writes, one update into the other; the last one takes the place of state.
    // Borrowed for the step, empty between steps.
    SpareState next[2];
    int last = 0;  // of next, after the latest update
  };

  absl::Status CheckWidth(int columns) const;
  absl::Status CheckBatch(const Batch& batch, Mode mode) const;
  void Resolve(int in_features);
  void Unresolve();
  Expert MakeExpert(const ExpertSpec& spec) const;
  void UpdateExperts();
  absl::Status SetTensors(const std::vector<StateTensor>& tensors);
  absl::Status ReadState(absl::string_view state);
  bool Fits() const;
  // The experts' part of Save and Load. False if a block has not the size it had before.
  template <class Self, class Archive>
  static bool VisitExperts(Self& self, Archive& archive);

  // served: [rows, out_features], what the rows were told long ago, or nothing.
  absl::StatusOr<StepResult> Learn(const Batch& batch, Mode mode, ConstMatrixView served);
  double Prequential(const Batch& batch, ConstMatrixView served);
  Batch TrainingRows(Expert& expert, const Random& random, const Batch& batch);
  absl::StatusOr<double> LearnExpert(int k, const Batch& batch, Mode mode);
  absl::StatusOr<double> Update(Expert& expert, int update, const Random& random, const Batch& rows,
                                const Batch& own, Mode mode);
  double OwnLoss(ConstMatrixView out, const Batch& own, double loss);
  void Commit(const Batch& batch);
  void GiveBackSpares();
  Random RandomOf(int expert, int update) const;
  int Leader() const;

  ModelSpec spec_;
  Limits limits_;
  std::optional<Network> network_;
  std::vector<Expert> experts_;
  Hedge hedge_, next_hedge_;
  TargetScale scale_, next_scale_;
  int64_t step_ = 0;
  int64_t rows_trained_ = 0;
  bool frozen_ = false;
  RequestWindow requests_;
  RememberedPredictions remembered_;
  StepDiagnostics diagnostics_;
  DriftDetector drift_;

  // Of the step under way.
  RowBuffer rows_, own_rows_;
  RecallBuffer recall_;
  Buffer<double> average_;
  Buffer<float> prediction_;
  std::vector<double> shifts_;
  double norm_ = 0, own_loss_ = 0;
  bool predicted_ = false;  // the network's latest pass was the only expert's prediction
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_LEARNER_H_
