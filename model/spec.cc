#include "model/spec.h"

#include <cmath>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

// Checks numbers of one message of the spec; NaN fails every check.
class Checker {
 public:
  explicit Checker(std::string prefix) : prefix_(std::move(prefix)) {}

  Checker& NotNegative(const char* name, double value) {
    return Expect(std::isfinite(value) && value >= 0, name, "a number of at least 0", value);
  }
  Checker& Positive(const char* name, double value) {
    return Expect(std::isfinite(value) && value > 0, name, "a number above 0", value);
  }
  Checker& Share(const char* name, double value) {
    return Expect(value >= 0 && value <= 1, name, "a number from 0 to 1", value);
  }
  Checker& BelowOne(const char* name, double value) {
    return Expect(value >= 0 && value < 1, name, "a number from 0 to below 1", value);
  }
  Checker& Expect(bool good, const char* name, absl::string_view expected, double value) {
    if (status_.ok() && !good) {
      status_ = InvalidSpec(absl::StrCat(prefix_, ".", name),
                            absl::StrCat("expected ", expected, ", got ", value));
    }
    return *this;
  }
  absl::Status status() const { return status_; }

 private:
  std::string prefix_;
  absl::Status status_;
};

absl::Status CheckLayer(const LayerSpec& layer, const std::string& at, const Limits& limits) {
  return std::visit(
      Overloaded{
          [&](const LinearSpec& s) {
            if (s.out_features > limits.max_width) {
              return LimitExceeded(
                  at + ".linear.out_features",
                  absl::StrCat("expected at most ", limits.max_width, ", got ", s.out_features));
            }
            return Checker(at + ".linear")
                .Expect(s.out_features > 0, "out_features", "at least 1", s.out_features)
                .status();
          },
          [&](const BatchNormSpec& s) {
            return Checker(at + ".batch_norm")
                .NotNegative("eps", s.eps)
                .Share("momentum", s.momentum)
                .Expect(
                    s.track_running_stats || s.training_statistics == TrainingStatistics::kBatch,
                    "training_statistics", "BATCH where nothing is tracked",
                    static_cast<int>(s.training_statistics))
                .status();
          },
          [&](const ActivationSpec& s) {
            return Checker(at + ".activation")
                .Expect(std::isfinite(s.negative_slope), "negative_slope", "a finite number",
                        s.negative_slope)
                .status();
          },
          [&](const DropoutSpec& s) {
            return Checker(at + ".dropout").BelowOne("p", s.p).status();
          },
      },
      layer);
}

absl::Status CheckLoss(const LossSpec& s) {
  return Checker("spec.loss")
      .NotNegative("beta", s.beta)
      .Positive("delta", s.delta)
      .NotNegative("pos_weight", s.pos_weight)
      .status();
}

template <class Adams>
absl::Status CheckAdam(const Adams& s, const char* at) {
  return Checker(at)
      .NotNegative("lr", s.lr)
      .BelowOne("beta1", s.beta1)
      .BelowOne("beta2", s.beta2)
      .NotNegative("eps", s.eps)
      .NotNegative("weight_decay", s.weight_decay)
      .status();
}

absl::Status CheckSgd(const SgdSpec& s) {
  if (s.nesterov && (s.momentum <= 0 || s.dampening != 0)) {
    return InvalidSpec("spec.optimizer.sgd.nesterov",
                       "expected momentum above 0 and dampening 0 beside it");
  }
  return Checker("spec.optimizer.sgd")
      .NotNegative("lr", s.lr)
      .NotNegative("momentum", s.momentum)
      .Expect(std::isfinite(s.dampening), "dampening", "a finite number", s.dampening)
      .NotNegative("weight_decay", s.weight_decay)
      .status();
}

absl::Status CheckOptimizer(const OptimizerSpec& optimizer) {
  return std::visit(Overloaded{
                        [](const AdamSpec& s) { return CheckAdam(s, "spec.optimizer.adam"); },
                        [](const AdamWSpec& s) { return CheckAdam(s, "spec.optimizer.adamw"); },
                        [](const SgdSpec& s) { return CheckSgd(s); },
                        [](const RmsPropSpec& s) {
                          return Checker("spec.optimizer.rmsprop")
                              .NotNegative("lr", s.lr)
                              .Share("alpha", s.alpha)
                              .NotNegative("eps", s.eps)
                              .NotNegative("weight_decay", s.weight_decay)
                              .NotNegative("momentum", s.momentum)
                              .status();
                        },
                        [](const AdagradSpec& s) {
                          return Checker("spec.optimizer.adagrad")
                              .NotNegative("lr", s.lr)
                              .NotNegative("lr_decay", s.lr_decay)
                              .NotNegative("weight_decay", s.weight_decay)
                              .NotNegative("initial_accumulator_value", s.initial_accumulator_value)
                              .NotNegative("eps", s.eps)
                              .status();
                        },
                    },
                    optimizer);
}

absl::Status CheckNames(const ModelSpec& spec, const Limits& limits) {
  const int features = static_cast<int>(spec.feature_names.size());
  if (features > 0 && spec.in_features > 0 && features != spec.in_features) {
    return InvalidSpec("spec.feature_names",
                       absl::StrCat("expected ", spec.in_features,
                                    " names, as many as in_features, got ", features));
  }
  if (ExpectedInFeatures(spec) > limits.max_width) {
    return LimitExceeded("spec.in_features", absl::StrCat("expected at most ", limits.max_width,
                                                          ", got ", ExpectedInFeatures(spec)));
  }
  if (spec.class_names.empty()) return absl::OkStatus();
  if (!IsClassification(spec.loss.kind)) {
    return InvalidSpec("spec.class_names", "expected none: the loss is not a classification loss");
  }
  const int outputs = OutFeatures(spec, 1);
  const int classes = outputs == 1 ? 2 : outputs;
  if (static_cast<int>(spec.class_names.size()) != classes) {
    return InvalidSpec("spec.class_names",
                       absl::StrCat("expected ", classes, " names, got ", spec.class_names.size()));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<LayerSpec> Expand(const MlpSpec& mlp) {
  std::vector<LayerSpec> layers;
  if (mlp.normalize_input) layers.push_back(BatchNormSpec());
  for (int width : mlp.hidden) {
    layers.push_back(LinearSpec{.out_features = width});
    layers.push_back(BatchNormSpec());
    layers.push_back(ActivationSpec{.kind = mlp.activation});
    if (mlp.dropout != 0) layers.push_back(DropoutSpec{.p = mlp.dropout});
  }
  layers.push_back(LinearSpec{.out_features = mlp.out_features});
  return layers;
}

bool IsClassification(LossKind kind) {
  return kind == LossKind::kBceWithLogits || kind == LossKind::kCrossEntropy;
}

int ExpectedInFeatures(const ModelSpec& spec) {
  return spec.in_features > 0 ? spec.in_features : static_cast<int>(spec.feature_names.size());
}

int OutFeatures(const ModelSpec& spec, int in_features) {
  int width = in_features;
  for (const LayerSpec& layer : spec.layers) {
    if (const auto* linear = std::get_if<LinearSpec>(&layer)) width = linear->out_features;
  }
  return width;
}

int64_t ParameterCount(const ModelSpec& spec, int in_features) {
  int64_t width = in_features;
  int64_t count = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (const auto* linear = std::get_if<LinearSpec>(&layer)) {
      count += linear->out_features * (width + (linear->bias ? 1 : 0));
      width = linear->out_features;
    } else if (const auto* norm = std::get_if<BatchNormSpec>(&layer)) {
      count += norm->affine ? 2 * width : 0;
    }
  }
  return count;
}

int64_t ValuesPerRow(const ModelSpec& spec, int in_features) {
  int64_t width = in_features, values = width;
  for (const LayerSpec& layer : spec.layers) {
    if (const auto* linear = std::get_if<LinearSpec>(&layer)) width = linear->out_features;
    values += width;
  }
  return values;
}

absl::Status CheckSize(const ModelSpec& spec, int in_features, const Limits& limits) {
  if (in_features > limits.max_width) {
    return LimitExceeded("features", absl::StrCat("expected at most ", limits.max_width,
                                                  " columns, got ", in_features));
  }
  const std::vector<ExpertSpec> experts = Experts(spec.learning);
  const int64_t count = ParameterCount(spec, in_features) * static_cast<int64_t>(experts.size());
  if (count > limits.max_parameters) {
    return LimitExceeded("spec.layers", absl::StrCat("expected at most ", limits.max_parameters,
                                                     " parameters, got ", count));
  }
  int64_t rows = 0;
  for (const ExpertSpec& expert : experts) rows += expert.replay.capacity;
  const int64_t values = rows * (in_features + OutFeatures(spec, in_features) + 1);
  if (values <= limits.max_replay_values) return absl::OkStatus();
  return LimitExceeded("spec.learning.replay.capacity",
                       absl::StrCat("expected at most ", limits.max_replay_values,
                                    " numbers in all rows kept, got ", values));
}

absl::Status Validate(const ModelSpec& spec, const Limits& limits) {
  if (spec.layers.empty()) return InvalidSpec("spec.layers", "expected mlp or at least one layer");
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    RETURN_IF_ERROR(CheckLayer(spec.layers[i], absl::StrCat("spec.layers[", i, "]"), limits));
  }
  if (ParameterCount(spec, 1) == 0) {
    return InvalidSpec("spec.layers", "expected at least one layer with parameters to learn");
  }
  RETURN_IF_ERROR(CheckLoss(spec.loss));
  if (spec.loss.kind == LossKind::kCrossEntropy && OutFeatures(spec, 2) < 2) {
    return InvalidSpec("spec.loss.kind",
                       "expected a last layer of at least 2 outputs for cross "
                       "entropy; for two classes in one output use BCE");
  }
  RETURN_IF_ERROR(CheckOptimizer(spec.optimizer));
  RETURN_IF_ERROR(ValidateLearning(spec.learning, spec.loss, "INVALID_SPEC", "spec.learning"));
  if (spec.in_features < 0) {
    return InvalidSpec("spec.in_features",
                       absl::StrCat("expected 0 (lazy) or a width, got ", spec.in_features));
  }
  RETURN_IF_ERROR(CheckNames(spec, limits));
  return CheckSize(spec, std::max(1, ExpectedInFeatures(spec)), limits);
}

namespace {

// Refuses one field of the learning options.
class LearningChecker {
 public:
  LearningChecker(absl::string_view reason, absl::string_view prefix)
      : reason_(reason), prefix_(prefix) {}

  void Expect(bool good, absl::string_view field, absl::string_view expected, double got) {
    if (!good && status_.ok()) {
      status_ =
          MakeError(absl::StatusCode::kInvalidArgument, reason_, absl::StrCat(prefix_, ".", field),
                    absl::StrCat("expected ", expected, ", got ", got));
    }
  }
  void Replay(const ReplaySpec& s, absl::string_view at) {
    Expect(s.capacity >= 0, absl::StrCat(at, "replay.capacity"), "at least 0 (0 is off)",
           s.capacity);
    Expect(s.rows_per_step >= 0 && s.rows_per_step <= s.capacity,
           absl::StrCat(at, "replay.rows_per_step"), "0 to capacity", s.rows_per_step);
  }
  void Updates(int updates, absl::string_view at) {
    Expect(updates >= 1 && updates <= kMostUpdates, absl::StrCat(at, "updates_per_request"),
           absl::StrCat("1 to ", kMostUpdates), updates);
  }
  absl::Status status() const { return status_; }

 private:
  static constexpr int kMostUpdates = 1000;
  absl::string_view reason_, prefix_;
  absl::Status status_;
};

}  // namespace

absl::Status ValidateLearning(const LearningSpec& s, const LossSpec& loss, absl::string_view reason,
                              absl::string_view prefix) {
  constexpr size_t kMostExperts = 16;
  LearningChecker check(reason, prefix);
  check.Expect(std::isfinite(s.clip_grad_norm) && s.clip_grad_norm >= 0, "clip_grad_norm",
               "a number of at least 0 (0 is off)", s.clip_grad_norm);
  check.Replay(s.replay, "");
  check.Updates(s.updates_per_request, "");
  check.Expect(!s.normalize_targets || !IsClassification(loss.kind), "normalize_targets",
               "false: the targets of a classification loss are classes", s.normalize_targets);
  check.Expect(s.experts.size() <= kMostExperts, "experts", absl::StrCat("at most ", kMostExperts),
               s.experts.size());
  check.Expect(s.experts.empty() || s.replay == ReplaySpec(), "replay",
               "none beside experts, which have their own", s.replay.capacity);
  for (size_t i = 0; i < s.experts.size(); ++i) {
    const ExpertSpec& e = s.experts[i];
    const std::string at = absl::StrCat("experts[", i, "].");
    check.Replay(e.replay, at);
    check.Updates(e.updates_per_request, at);
    check.Expect(std::isfinite(e.learning_rate) && e.learning_rate >= 0, at + "learning_rate",
                 "at least 0 (0 is the optimizer's)", e.learning_rate);
  }
  check.Expect(std::isfinite(s.hedge_rate) && s.hedge_rate >= 0, "hedge_rate",
               "a number of at least 0", s.hedge_rate);
  check.Expect(s.hedge_discount >= 0 && s.hedge_discount <= 1, "hedge_discount",
               "a number from 0 to 1", s.hedge_discount);
  return check.status();
}

std::vector<ExpertSpec> Experts(const LearningSpec& learning) {
  if (!learning.experts.empty()) return learning.experts;
  return {{.replay = learning.replay, .updates_per_request = learning.updates_per_request}};
}

double LearningRate(const OptimizerSpec& optimizer) {
  return std::visit([](const auto& s) { return s.lr; }, optimizer);
}

void SetLearningRate(double lr, OptimizerSpec& optimizer) {
  std::visit([lr](auto& s) { s.lr = lr; }, optimizer);
}

}  // namespace lazynorm
