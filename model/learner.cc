#include "model/learner.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/kernels.h"
#include "model/loss.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

// Steps draw from streams of their own; those named by small numbers gave the layers their start.
constexpr uint64_t kSteps = ~uint64_t{0};

double Norm(const float* numbers, int64_t n) {
  return std::sqrt(ActiveKernels().sum_of_squares(numbers, n));
}

// The width that a lazy model takes from its initial state: columns of a leading Linear, or length
// of a leading batch norm.
absl::StatusOr<int> WidthOf(const ModelSpec& spec, const std::vector<StateTensor>& tensors) {
  if (ExpectedInFeatures(spec) > 0) return ExpectedInFeatures(spec);
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const std::string prefix = std::to_string(i) + ".";
    for (const StateTensor& tensor : tensors) {
      if (tensor.name.rfind(prefix, 0) != 0 || tensor.shape.empty()) continue;
      if (tensor.name == prefix + "weight" || tensor.name == prefix + "running_mean") {
        const int64_t width = tensor.shape.back();
        if (width >= 1 && width <= 1'000'000) return static_cast<int>(width);
      }
    }
    if (std::holds_alternative<LinearSpec>(spec.layers[i])) break;
  }
  return InvalidState("initial_state",
                      "expected the tensors of the first layer, whose shape tells "
                      "how many features there are");
}

}  // namespace

Learner::Learner(ModelSpec spec, const Limits& limits)
    : spec_(std::move(spec)), limits_(limits), optimizer_(spec_.optimizer) {}

absl::StatusOr<std::unique_ptr<Learner>> Learner::Create(
    ModelSpec spec, const Limits& limits, const std::vector<StateTensor>& initial_state) {
  RETURN_IF_ERROR(Validate(spec, limits));
  std::unique_ptr<Learner> learner(new Learner(std::move(spec), limits));
  if (!initial_state.empty()) {
    ASSIGN_OR_RETURN(const int width, WidthOf(learner->spec_, initial_state));
    RETURN_IF_ERROR(CheckSize(learner->spec_, width, limits));
    learner->Resolve(width);
    RETURN_IF_ERROR(learner->network_->SetTensors(initial_state, learner->state_));
  } else if (learner->spec_.in_features > 0) {
    learner->Resolve(learner->spec_.in_features);
  }
  return learner;
}

absl::StatusOr<StepResult> Learner::Apply(const Command& command) {
  return std::visit([this](const auto& c) { return Do(c); }, command);
}

absl::Status Learner::CheckWidth(int columns) const {
  const int expected = lazy() ? ExpectedInFeatures(spec_) : in_features();
  if (expected > 0 && columns != expected) return WidthMismatch(expected, columns);
  if (columns <= 0) return WidthMismatch(1, columns);
  return lazy() ? CheckSize(spec_, columns, limits_) : absl::OkStatus();
}

void Learner::Resolve(int in_features) {
  network_ = std::make_unique<Network>(spec_.layers, in_features);
  state_ = network_->Start(spec_.seed);
  next_ = state_;
  moments_ = optimizer_.Start(network_->parameter_count());
  next_moments_ = moments_;
}

void Learner::Unresolve() {
  network_.reset();
  state_ = next_ = NetworkState();
  moments_ = next_moments_ = OptimizerState();
}

absl::StatusOr<StepResult> Learner::Do(const ResolveCommand& command) {
  RETURN_IF_ERROR(CheckWidth(command.in_features));
  if (lazy()) Resolve(command.in_features);
  return StepResult{.step = step_};
}

absl::StatusOr<StepResult> Learner::Do(const FreezeStatisticsCommand& command) {
  frozen_ = command.frozen;
  return StepResult{.step = step_};
}

absl::StatusOr<StepResult> Learner::Do(const UpdateCommand& command) {
  LearningSpec learning = spec_.learning;
  if (command.clip_grad_norm) learning.clip_grad_norm = *command.clip_grad_norm;
  const double lr = command.learning_rate.value_or(LearningRate(spec_.optimizer));
  RETURN_IF_ERROR(ValidateLearning(learning, "INVALID_UPDATE", "learning"));
  if (!(std::isfinite(lr) && lr >= 0)) {
    return InvalidUpdate("learning_rate",
                         absl::StrCat("expected a number of at least 0, got ", lr));
  }
  spec_.learning = learning;
  SetLearningRate(lr, spec_.optimizer);
  optimizer_ = Optimizer(spec_.optimizer);
  return StepResult{.step = step_};
}

absl::Status Learner::CheckBatch(const Batch& batch, Mode mode) const {
  if (batch.rows() == 0) return EmptyBatch();
  const int columns = static_cast<int>(batch.features.cols());
  RETURN_IF_ERROR(CheckWidth(columns));
  RETURN_IF_ERROR(CheckTargets(spec_.loss, batch, OutFeatures(spec_, columns)));
  if (batch.rows() > 1) return absl::OkStatus();
  for (size_t i = 0; i < spec_.layers.size(); ++i) {
    const auto* norm = std::get_if<BatchNormSpec>(&spec_.layers[i]);
    if (norm == nullptr) continue;
    if (mode == Mode::kTrain || !norm->track_running_stats) return TooFewRows(static_cast<int>(i));
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResult> Learner::Do(const TrainCommand& command) {
  uint64_t fingerprint = 0;
  if (!command.request_id.empty()) {
    fingerprint = Fingerprint(command);
    ASSIGN_OR_RETURN(const std::optional<StepResult> known,
                     requests_.Find(command.request_id, fingerprint));
    if (known.has_value()) return *known;
  }
  const Mode mode = frozen_ || command.freeze_statistics ? Mode::kFrozen : Mode::kTrain;
  RETURN_IF_ERROR(CheckBatch(command.batch, mode));
  const bool was_lazy = lazy();
  if (was_lazy) Resolve(static_cast<int>(command.batch.features.cols()));
  absl::StatusOr<StepResult> result = Learn(command.batch, mode);
  if (!result.ok()) {
    if (was_lazy) Unresolve();
    return result;
  }
  if (!command.request_id.empty()) requests_.Insert(command.request_id, fingerprint, *result);
  return result;
}

// Writes the new state into next_ and next_moments_, and takes it only when all of it is finite.
absl::StatusOr<StepResult> Learner::Learn(const Batch& batch, Mode mode) {
  const Random random = Random(spec_.seed).Stream(kSteps).Stream(step_);
  StepResult result{.step = step_ + 1};
  const StepContext predict{Mode::kEval, random, state_, next_};
  result.prequential_loss =
      LossValue(spec_.loss, network_->Forward(predict, batch.features), batch);

  const StepContext step{mode, random, state_, next_};
  const ConstMatrixView out = network_->Forward(step, batch.features);
  MatrixView gradient = network_->OutputGradient(batch.rows());
  result.loss = LossGradient(spec_.loss, out, batch, gradient);
  if (!std::isfinite(result.loss)) return NonFiniteStep("the loss");

  const float* gradients = network_->Backward(step, gradient);
  const double norm = Norm(gradients, network_->parameter_count());
  if (!std::isfinite(norm)) return NonFiniteStep("the gradient");

  if (!optimizer_.Step(state_.parameters, gradients,
                       ClipFactor(norm, spec_.learning.clip_grad_norm), moments_, next_.parameters,
                       next_moments_)) {
    return NonFiniteStep("a parameter or its moments");
  }
  if (mode == Mode::kFrozen) {
    next_.statistics = state_.statistics;
    std::copy(state_.counters.begin(), state_.counters.end(), next_.counters.begin());
  }
  diagnostics_.gradient_norm = norm;
  diagnostics_.rows = batch.rows();
  Commit();
  return result;
}

void Learner::Commit() {
  std::swap(state_.parameters, next_.parameters);
  std::swap(state_.statistics, next_.statistics);
  std::swap(state_.counters, next_.counters);
  std::swap(moments_.moments, next_moments_.moments);
  std::swap(moments_.steps, next_moments_.steps);
  ++step_;
  rows_trained_ += diagnostics_.rows;
  diagnostics_.parameter_norm = Norm(state_.parameters.data(), network_->parameter_count());
  network_->BatchNormShifts(diagnostics_.batch_norm_shift);
}

std::shared_ptr<const Plan> Learner::MakePlan() const {
  if (lazy()) return nullptr;
  PlanBuilder builder(in_features(), step_, spec_.loss);
  network_->AddTo(builder, state_);
  return std::make_shared<const Plan>(std::move(builder).Build());
}

std::vector<StateTensor> Learner::Tensors() const {
  return lazy() ? std::vector<StateTensor>() : network_->Tensors(state_);
}

std::vector<StateTensor> Learner::Gradients() const {
  return lazy() ? std::vector<StateTensor>() : network_->Gradients();
}

}  // namespace lazynorm
