#ifndef LAZYNORM_MODEL_SPEC_H_
#define LAZYNORM_MODEL_SPEC_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// What a model is asked to be. Names and defaults are torch's; semantics stand beside the class
// that implements them. Plain values.

struct LinearSpec {
  int out_features = 1;
  bool bias = true;
};

// What a training pass of a batch norm normalises with.
enum class TrainingStatistics {
  kBatch,    // the batch's own statistics, as torch does
  kRunning,  // the running statistics, this batch included
};

struct BatchNormSpec {
  double eps = 1e-5;
  double momentum = 0.1;    // the share of the new batch
  bool cumulative = false;  // plain average over all batches, instead of momentum
  bool affine = true;
  bool track_running_stats = true;
  TrainingStatistics training_statistics = TrainingStatistics::kBatch;
};

enum class ActivationKind {
  kIdentity,
  kRelu,
  kLeakyRelu,
  kElu,
  kSelu,
  kGelu,
  kSilu,
  kTanh,
  kSigmoid,
  kSoftplus,
};

struct ActivationSpec {
  ActivationKind kind = ActivationKind::kRelu;
  double negative_slope = 0.01;  // LeakyReLU
};

struct DropoutSpec {
  double p = 0.5;
};

using LayerSpec = std::variant<LinearSpec, BatchNormSpec, ActivationSpec, DropoutSpec>;

// The short form of a network.
struct MlpSpec {
  std::vector<int> hidden;
  int out_features = 1;
  ActivationKind activation = ActivationKind::kRelu;
  bool normalize_input = false;
  double dropout = 0;
};

// [batch norm,] then for each hidden width Linear, batch norm, activation[, dropout], then Linear.
std::vector<LayerSpec> Expand(const MlpSpec& mlp);

enum class LossKind { kMse, kL1, kSmoothL1, kHuber, kBceWithLogits, kCrossEntropy };

struct LossSpec {
  LossKind kind = LossKind::kMse;
  double beta = 1;        // SmoothL1
  double delta = 1;       // Huber
  double pos_weight = 1;  // BCE
};

// Whether the targets of a loss are classes rather than quantities.
bool IsClassification(LossKind kind);

struct SgdSpec {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
};

struct AdamSpec {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool amsgrad = false;
};

struct AdamWSpec {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
  bool amsgrad = false;
};

struct RmsPropSpec {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false;
};

struct AdagradSpec {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10;
};

using OptimizerSpec = std::variant<AdamSpec, AdamWSpec, SgdSpec, RmsPropSpec, AdagradSpec>;

// Past rows to learn from again; capacity 0: none.
struct ReplaySpec {
  int capacity = 0;       // rows kept, a uniform sample of all seen
  int rows_per_step = 0;  // drawn for each update, beside the request's own

  bool operator==(const ReplaySpec&) const = default;
};

// One of several learners of the same shape inside one model.
struct ExpertSpec {
  ReplaySpec replay;
  int updates_per_request = 1;
  double learning_rate = 0;  // 0: the optimizer's

  bool operator==(const ExpertSpec&) const = default;
};

struct LearningSpec {
  double clip_grad_norm = 0;  // 0: off
  ReplaySpec replay;
  int updates_per_request = 1;
  bool normalize_targets = false;   // regression only
  std::vector<ExpertSpec> experts;  // empty: one, with the replay and updates above
  double hedge_rate = 0.3;
  double hedge_discount = 0.99;  // a row
  // The model whose rows this one learns too; whoever hosts them sees to it. Empty: none.
  std::string shadow_of;

  bool operator==(const LearningSpec&) const = default;
};

struct ModelSpec {
  std::vector<LayerSpec> layers;
  LossSpec loss;
  OptimizerSpec optimizer;
  LearningSpec learning;
  uint64_t seed = 0;
  int in_features = 0;  // 0: given by the first request
  std::vector<std::string> feature_names;
  std::vector<std::string> class_names;
};

// The learners of a model, one at least: its experts, or the one that replay and
// updates_per_request describe.
std::vector<ExpertSpec> Experts(const LearningSpec& learning);

// What a server allows.
struct Limits {
  int max_width = 16384;
  int64_t max_parameters = 50'000'000;     // of all experts together
  int64_t max_replay_values = 50'000'000;  // rows kept times their features, targets and weight
};

// The width the spec asks for: in_features, or one for each feature name; 0 if lazy.
int ExpectedInFeatures(const ModelSpec& spec);

// The width of the last layer for a given input width.
int OutFeatures(const ModelSpec& spec, int in_features);

// The number of trained parameters for a given input width.
int64_t ParameterCount(const ModelSpec& spec, int in_features);

// How many numbers a learning step keeps of each row: what goes into the layers and comes out.
int64_t ValuesPerRow(const ModelSpec& spec, int in_features);

// INVALID_SPEC naming the field ("spec.layers[2].batch_norm.eps"), or LIMIT_EXCEEDED.
absl::Status Validate(const ModelSpec& spec, const Limits& limits);

// INVALID_ARGUMENT with this reason, naming the field as "<prefix>.clip_grad_norm".
absl::Status ValidateLearning(const LearningSpec& learning, const LossSpec& loss,
                              absl::string_view reason, absl::string_view prefix);

// LIMIT_EXCEEDED if a network of this input width is larger than allowed.
absl::Status CheckSize(const ModelSpec& spec, int in_features, const Limits& limits);

double LearningRate(const OptimizerSpec& optimizer);
void SetLearningRate(double lr, OptimizerSpec& optimizer);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_SPEC_H_
