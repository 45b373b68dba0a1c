#include "model/learner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/kernels.h"
#include "model/loss.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

// Steps draw from streams of their own; those named by small numbers gave the layers their start.
constexpr uint64_t kSteps = ~uint64_t{0};
// So do the reservoirs.
constexpr uint64_t kKept = kSteps - 1;
// Within a step: the rows drawn; layers have small numbers.
constexpr uint64_t kDraw = kSteps - 2;

// Whether statistics, kept in double, can leave as float32: NaN and what is too large cannot.
bool FitFloat(const Eigen::ArrayXd& statistics) {
  return (statistics.abs() <= std::numeric_limits<float>::max()).all();
}

std::string ExpertPrefix(size_t k) {
  return absl::StrCat("experts.", k, ".");
}

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

Learner::Learner(ModelSpec spec, const Limits& limits) : spec_(std::move(spec)), limits_(limits) {}

absl::StatusOr<std::unique_ptr<Learner>> Learner::Create(
    ModelSpec spec, const Limits& limits, const std::vector<StateTensor>& initial_state) {
  RETURN_IF_ERROR(Validate(spec, limits));
  std::unique_ptr<Learner> learner(new Learner(std::move(spec), limits));
  if (!initial_state.empty()) {
    ASSIGN_OR_RETURN(const int width, WidthOf(learner->spec_, initial_state));
    RETURN_IF_ERROR(CheckSize(learner->spec_, width, limits));
    learner->Resolve(width);
    RETURN_IF_ERROR(learner->SetTensors(initial_state));
  } else if (learner->spec_.in_features > 0) {
    learner->Resolve(learner->spec_.in_features);
  }
  return learner;
}

absl::StatusOr<StepResult> Learner::Apply(const Command& command) {
  return std::visit([this](const auto& c) { return Do(c); }, command);
}

int64_t Learner::parameter_count() const {
  return lazy() ? 0 : network_->parameter_count() * static_cast<int64_t>(experts_.size());
}

absl::Status Learner::CheckWidth(int columns) const {
  const int expected = lazy() ? ExpectedInFeatures(spec_) : in_features();
  if (expected > 0 && columns != expected) return WidthMismatch(expected, columns);
  if (columns <= 0) return WidthMismatch(1, columns);
  return lazy() ? CheckSize(spec_, columns, limits_) : absl::OkStatus();
}

Learner::Expert Learner::MakeExpert(const ExpertSpec& spec) const {
  OptimizerSpec optimizer = spec_.optimizer;
  if (spec.learning_rate > 0) SetLearningRate(spec.learning_rate, optimizer);
  return {.spec = spec,
          .optimizer = Optimizer(optimizer),
          .state = {},
          .moments = {},
          .replay = Reservoir(spec.replay.capacity)};
}

void Learner::Resolve(int in_features) {
  network_.emplace(spec_.layers, in_features);
  for (const ExpertSpec& spec : Experts(spec_.learning)) {
    Expert& expert = experts_.emplace_back(MakeExpert(spec));
    const int k = static_cast<int>(experts_.size()) - 1;
    expert.state = network_->Start(k == 0 ? Random(spec_.seed) : Random(spec_.seed).Stream(~k));
    expert.moments = expert.optimizer.Start(network_->parameter_count());
  }
  hedge_ = next_hedge_ = Hedge(static_cast<int>(experts_.size()));
  if (spec_.learning.normalize_targets) {
    scale_ = next_scale_ = TargetScale(network_->out_features());
  }
}

void Learner::Unresolve() {
  network_.reset();
  experts_.clear();
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

absl::StatusOr<StepResult> Learner::Do(const RememberCommand& command) {
  const int columns = static_cast<int>(command.features.cols());
  RETURN_IF_ERROR(CheckWidth(columns));
  if (command.predictions.cols() != OutFeatures(spec_, columns)) {
    return ShapeMismatch("predictions.columns", absl::StrCat(OutFeatures(spec_, columns)),
                         absl::StrCat(command.predictions.cols()));
  }
  RETURN_IF_ERROR(remembered_.Remember(command));
  return StepResult{.step = step_};
}

absl::StatusOr<StepResult> Learner::Do(const UpdateCommand& command) {
  LearningSpec learning = spec_.learning;
  if (command.clip_grad_norm) learning.clip_grad_norm = *command.clip_grad_norm;
  if (command.replay) learning.replay = *command.replay;
  if (command.updates_per_request) learning.updates_per_request = *command.updates_per_request;
  if (command.normalize_targets) learning.normalize_targets = *command.normalize_targets;
  if (command.experts) learning.experts = *command.experts;
  if (command.hedge_rate) learning.hedge_rate = *command.hedge_rate;
  if (command.hedge_discount) learning.hedge_discount = *command.hedge_discount;
  if (command.shadow_of) learning.shadow_of = *command.shadow_of;
  const double lr = command.learning_rate.value_or(LearningRate(spec_.optimizer));
  RETURN_IF_ERROR(ValidateLearning(learning, spec_.loss, "INVALID_UPDATE", "learning"));
  if (!(std::isfinite(lr) && lr >= 0)) {
    return InvalidUpdate("learning_rate",
                         absl::StrCat("expected a number of at least 0, got ", lr));
  }
  if (!lazy() && learning.normalize_targets != spec_.learning.normalize_targets) {
    return InvalidUpdate("learning.normalize_targets",
                         "expected as created: the units a resolved network learned in stay");
  }
  ModelSpec updated = spec_;
  updated.learning = learning;
  SetLearningRate(lr, updated.optimizer);
  RETURN_IF_ERROR(CheckSize(updated, std::max(1, in_features()), limits_));
  spec_ = std::move(updated);
  if (!lazy()) UpdateExperts();
  return StepResult{.step = step_};
}

absl::StatusOr<StepResult> Learner::Do(const RestoreCommand& command) {
  ASSIGN_OR_RETURN(std::unique_ptr<Learner> restored, Load(command.spec, limits_, command.state));
  *this = std::move(*restored);
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
    const bool by_batch =
        mode == Mode::kTrain && norm->training_statistics == TrainingStatistics::kBatch;
    if (by_batch || !norm->track_running_stats) return TooFewRows(static_cast<int>(i));
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
  Batch batch = command.batch;
  Recalled recalled;
  if (!command.prediction_ids.empty()) {
    ASSIGN_OR_RETURN(recalled, remembered_.Recall(command.prediction_ids, command.now, recall_));
    batch.features = recalled.features;
  }
  RETURN_IF_ERROR(CheckBatch(batch, mode));
  const bool was_lazy = lazy();
  if (was_lazy) Resolve(static_cast<int>(batch.features.cols()));
  absl::StatusOr<StepResult> result = Learn(batch, mode, recalled.predictions);
  if (!result.ok()) {
    if (was_lazy) Unresolve();
    return result;
  }
  if (!command.request_id.empty()) requests_.Insert(command.request_id, fingerprint, *result);
  for (absl::string_view id : command.prediction_ids) remembered_.Forget(id);
  remembered_.Expire(command.now);
  return result;
}

// Moments and parameters are kept; a new expert starts as a copy of the heaviest one.
void Learner::UpdateExperts() {
  const std::vector<ExpertSpec> specs = Experts(spec_.learning);
  const int leader = Leader();
  for (size_t k = 0; k < specs.size(); ++k) {
    Expert expert = MakeExpert(specs[k]);
    Expert& from = experts_[k < experts_.size() ? k : leader];
    expert.state = from.state;
    expert.moments = from.moments;
    if (k < experts_.size()) {
      expert.replay = std::move(from.replay);
      expert.replay.SetCapacity(specs[k].replay.capacity);
      experts_[k] = std::move(expert);
    } else {
      experts_.push_back(std::move(expert));
    }
  }
  if (experts_.size() != specs.size()) experts_.resize(specs.size(), MakeExpert({}));
  if (hedge_.weights().size() != specs.size()) {
    hedge_ = next_hedge_ = Hedge(static_cast<int>(specs.size()));
  }
}

int Learner::Leader() const {
  const std::vector<double>& weights = hedge_.weights();
  return static_cast<int>(std::max_element(weights.begin(), weights.end()) - weights.begin());
}

Random Learner::RandomOf(int expert, int update) const {
  const Random random = Random(spec_.seed).Stream(kSteps).Stream(step_);
  if (expert == 0 && update == 0) return random;
  return random.Stream(~(static_cast<uint64_t>(expert) << 32 | update));
}

// The loss of the rows as they were predicted when they were served, else as the plan would predict
// them now. On the way, every expert is scored, always by what it would predict now: what each of
// them gave to a served prediction is not known any more.
double Learner::Prequential(const Batch& batch, ConstMatrixView served) {
  next_hedge_ = hedge_;
  predicted_ = false;
  const int64_t rows = batch.rows();
  const int outputs = network_->out_features();
  const bool scaled = spec_.learning.normalize_targets;
  Batch own = batch;
  if (scaled) own.targets = own_rows_.batch().targets;
  const bool several = experts_.size() > 1;
  if (!several && served.rows() > 0) return LossValue(spec_.loss, served, batch);
  double* sum = several ? average_.Reserve(rows * outputs) : nullptr;
  if (several) std::fill_n(sum, rows * outputs, 0.0);
  ConstMatrixView out;
  for (size_t k = 0; k < experts_.size(); ++k) {
    const StepContext predict{Mode::kEval, RandomOf(0, 0), experts_[k].state,
                              experts_[k].next[0].network};
    out = network_->Forward(predict, batch.features);
    predicted_ = !several;
    if (!several) break;
    AddWeighted(spec_.loss.kind, out, hedge_.weights()[k], sum);
    if (!scaled || scale_.batches() > 0) {
      next_hedge_.Observe(static_cast<int>(k), spec_.loss, spec_.learning.hedge_discount, out, own);
    }
  }
  if (served.rows() > 0) return LossValue(spec_.loss, served, batch);
  if (!several && !scaled) return LossValue(spec_.loss, out, batch);
  const MatrixView prediction(prediction_.Reserve(rows * outputs), rows, outputs);
  if (several) {
    FromAverage(spec_.loss.kind, sum, prediction);
  } else {
    std::copy_n(out.data(), out.size(), prediction.data());
  }
  if (scaled) scale_.Denormalize(prediction);
  return LossValue(spec_.loss, prediction, batch);
}

// The request's rows, then those drawn from the expert's past; targets as the network learns them.
Batch Learner::TrainingRows(Expert& expert, const Random& random, const Batch& batch) {
  const bool scaled = spec_.learning.normalize_targets;
  if (expert.replay.size() == 0 && !scaled) return batch;
  rows_.Clear();
  for (int64_t i = 0; i < batch.rows(); ++i) rows_.Append(batch, i);
  expert.replay.Draw(expert.spec.replay.rows_per_step, random.Stream(kDraw), rows_);
  if (scaled) next_scale_.Normalize(rows_.targets());
  return rows_.batch();
}

// `loss`, of outputs for the request's rows, in the target's units.
double Learner::OwnLoss(ConstMatrixView out, const Batch& own, double loss) {
  if (!spec_.learning.normalize_targets) return loss;
  const MatrixView prediction(prediction_.Reserve(out.size()), out.rows(), out.cols());
  std::copy_n(out.data(), out.size(), prediction.data());
  next_scale_.Denormalize(prediction);
  return LossValue(spec_.loss, prediction, own);
}

// One update from the expert's newest state into the next. Returns the loss of the first rows,
// which are the request's `own`.
absl::StatusOr<double> Learner::Update(Expert& expert, int update, const Random& random,
                                       const Batch& rows, const Batch& own, Mode mode) {
  const int to = update % 2;
  const NetworkState& from = update == 0 ? expert.state : expert.next[1 - to].network;
  const OptimizerState& moments = update == 0 ? expert.moments : expert.next[1 - to].optimizer;
  SpareState& spare = expert.next[to];
  if (spare.empty()) spare = SpareStates::OfProcess().Take(from, moments);
  NetworkState& next = spare.network;
  const StepContext step{mode, random, from, next, /*again=*/predicted_ && update == 0};
  const ConstMatrixView out = network_->Forward(step, rows.features);
  MatrixView gradient = network_->OutputGradient(rows.rows());
  double loss = LossGradient(spec_.loss, out, rows, gradient);
  if (!std::isfinite(loss)) return NonFiniteStep("the loss");
  const int64_t n = own.rows();
  if (n < rows.rows()) loss = LossValue(spec_.loss, out.first(n), rows.first(n));
  if (update == 0) own_loss_ = OwnLoss(out.first(n), own, loss);

  const float* gradients = network_->Backward(step, gradient);
  const double norm = Norm(gradients, network_->parameter_count());
  if (!std::isfinite(norm)) return NonFiniteStep("the gradient");
  if (!expert.optimizer.Step(from.parameters, gradients,
                             ClipFactor(norm, spec_.learning.clip_grad_norm), moments,
                             next.parameters, spare.optimizer)) {
    return NonFiniteStep("a parameter or its moments");
  }
  if (mode == Mode::kTrain && !FitFloat(next.statistics)) {
    return NonFiniteStep("a running statistic");
  }
  if (mode == Mode::kFrozen) {
    next.statistics = from.statistics;
    std::copy(from.counters.begin(), from.counters.end(), next.counters.begin());
  }
  expert.last = to;
  norm_ = norm;
  return loss;
}

absl::StatusOr<double> Learner::LearnExpert(int k, const Batch& batch, Mode mode) {
  Expert& expert = experts_[k];
  double first_loss = 0;
  for (int update = 0; update < expert.spec.updates_per_request; ++update) {
    const Random random = RandomOf(k, update);
    const Batch rows = TrainingRows(expert, random, batch);
    ASSIGN_OR_RETURN(const double loss, Update(expert, update, random, rows, batch, mode));
    if (update == 0) first_loss = loss;
  }
  return first_loss;
}

// Every expert writes its new state beside the old one; all are taken only when all are finite.
absl::StatusOr<StepResult> Learner::Learn(const Batch& batch, Mode mode, ConstMatrixView served) {
  const absl::Cleanup give_back = [this] { GiveBackSpares(); };
  StepResult result{.step = step_ + 1};
  if (spec_.learning.normalize_targets) {
    own_rows_.Clear();
    for (int64_t i = 0; i < batch.rows(); ++i) own_rows_.Append(batch, i);
    scale_.Normalize(own_rows_.targets());
    next_scale_ = scale_;
    if (mode == Mode::kTrain) next_scale_.Track(batch);
    if (!FitFloat(next_scale_.var())) return NonFiniteStep("the variance of the targets");
  }
  result.prequential_loss = Prequential(batch, served);
  const int leader = Leader();
  double own_loss = 0;
  for (size_t k = 0; k < experts_.size(); ++k) {
    ASSIGN_OR_RETURN(const double loss, LearnExpert(static_cast<int>(k), batch, mode));
    result.loss += loss * hedge_.weights()[k];
    own_loss += own_loss_ * hedge_.weights()[k];
    if (static_cast<int>(k) != leader) continue;
    result.gradient_norm = norm_;
    network_->BatchNormShifts(shifts_);
  }
  Commit(batch);
  diagnostics_.loss = own_loss;
  diagnostics_.gradient_norm = result.gradient_norm;
  result.drift = drift_.Observe(result.prequential_loss, batch.rows(), step_);
  diagnostics_.drift_level = drift_.level();
  return result;
}

void Learner::Commit(const Batch& batch) {
  for (size_t k = 0; k < experts_.size(); ++k) {
    Expert& e = experts_[k];
    SpareState& next = e.next[e.last];
    std::swap(e.state.parameters, next.network.parameters);
    std::swap(e.state.statistics, next.network.statistics);
    std::swap(e.state.counters, next.network.counters);
    std::swap(e.moments.moments, next.optimizer.moments);
    std::swap(e.moments.steps, next.optimizer.steps);
    e.replay.Add(batch, Random(spec_.seed).Stream(kKept).Stream(k));
  }
  next_hedge_.Weigh(spec_.learning.hedge_rate);
  hedge_ = next_hedge_;
  if (spec_.learning.normalize_targets) scale_ = next_scale_;
  ++step_;
  rows_trained_ += batch.rows();
  diagnostics_.rows = batch.rows();
  diagnostics_.batch_norm_shift = shifts_;
  diagnostics_.expert_weights = hedge_.weights();
  diagnostics_.parameter_norm =
      Norm(experts_[Leader()].state.parameters.data(), network_->parameter_count());
}

void Learner::GiveBackSpares() {
  for (Expert& expert : experts_) {
    for (SpareState& next : expert.next) {
      if (!next.empty()) SpareStates::OfProcess().Give(std::exchange(next, {}));
    }
  }
}

std::shared_ptr<const Plan> Learner::MakePlan() const {
  if (lazy()) return nullptr;
  PlanBuilder builder(in_features(), step_, spec_.loss);
  AddTo(builder);
  return std::make_shared<const Plan>(std::move(builder).Build());
}

void Learner::AddTo(PlanWriter& writer) const {
  for (size_t k = 0; k < experts_.size(); ++k) {
    writer.BeginExpert(hedge_.weights()[k]);
    network_->AddTo(writer, experts_[k].state);
    if (spec_.learning.normalize_targets) writer.Denormalize(scale_.mean(), scale_.std());
  }
}

std::vector<StateTensor> Learner::Tensors() const {
  std::vector<StateTensor> tensors;
  for (size_t k = 0; k < experts_.size(); ++k) {
    for (StateTensor& tensor : network_->Tensors(experts_[k].state)) {
      if (k > 0) tensor.name = ExpertPrefix(k) + tensor.name;
      tensors.push_back(std::move(tensor));
    }
  }
  if (!lazy()) hedge_.AddTensors(tensors);
  if (!lazy() && spec_.learning.normalize_targets) scale_.AddTensors(tensors);
  return tensors;
}

absl::Status Learner::SetTensors(const std::vector<StateTensor>& tensors) {
  std::vector<std::vector<StateTensor>> parts(experts_.size());
  std::vector<StateTensor> scale;
  for (const StateTensor& tensor : tensors) {
    if (experts_.size() > 1 && Hedge::Owns(tensor.name)) {
      RETURN_IF_ERROR(hedge_.SetTensor(tensor, spec_.learning.hedge_rate));
      next_hedge_ = hedge_;
      continue;
    }
    if (spec_.learning.normalize_targets && TargetScale::Owns(tensor.name)) {
      scale.push_back(tensor);
      continue;
    }
    size_t part = 0;
    for (size_t k = 1; k < experts_.size(); ++k) {
      if (tensor.name.rfind(ExpertPrefix(k), 0) == 0) part = k;
    }
    parts[part].push_back(tensor);
    if (part > 0) parts[part].back().name.erase(0, ExpertPrefix(part).size());
  }
  for (size_t k = 0; k < experts_.size(); ++k) {
    RETURN_IF_ERROR(network_->SetTensors(parts[k], experts_[k].state));
  }
  return spec_.learning.normalize_targets ? scale_.SetTensors(scale) : absl::OkStatus();
}

std::vector<StateTensor> Learner::Gradients() const {
  return lazy() ? std::vector<StateTensor>() : network_->Gradients();
}

}  // namespace lazynorm
