#include "server/convert/spec.h"

#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

// The kinds of both sides have the same order, proto's beginning with UNSPECIFIED.
static_assert(static_cast<int>(ActivationKind::kSoftplus) + 1 == v1::ACTIVATION_KIND_SOFTPLUS);
static_assert(static_cast<int>(LossKind::kCrossEntropy) + 1 == v1::LOSS_KIND_CROSS_ENTROPY);

absl::Status UnknownValue(absl::string_view field, int value) {
  return InvalidSpec(field, absl::StrCat("expected a known kind, got ", value));
}

template <class T>
void SetIf(bool has, T value, T& field) {
  if (has) field = value;
}

absl::StatusOr<ActivationKind> ToActivation(v1::ActivationKind kind, absl::string_view field) {
  if (!v1::ActivationKind_IsValid(kind)) return UnknownValue(field, kind);
  if (kind == v1::ACTIVATION_KIND_UNSPECIFIED)
    return InvalidSpec(field, "expected a kind, got none");
  return static_cast<ActivationKind>(kind - 1);
}

absl::StatusOr<MlpSpec> ToMlp(const v1::Mlp& proto) {
  MlpSpec mlp;
  mlp.hidden.assign(proto.hidden().begin(), proto.hidden().end());
  for (size_t i = 0; i < mlp.hidden.size(); ++i) {
    if (mlp.hidden[i] > 0) continue;
    return InvalidSpec(absl::StrCat("spec.mlp.hidden[", i, "]"),
                       absl::StrCat("expected at least 1, got ", mlp.hidden[i]));
  }
  if (proto.out_features() < 0) {
    return InvalidSpec("spec.mlp.out_features",
                       absl::StrCat("expected at least 1, got ", proto.out_features()));
  }
  if (proto.out_features() > 0) mlp.out_features = proto.out_features();
  if (proto.activation() != v1::ACTIVATION_KIND_UNSPECIFIED) {
    ASSIGN_OR_RETURN(mlp.activation, ToActivation(proto.activation(), "spec.mlp.activation"));
  }
  if (!(proto.dropout() >= 0 && proto.dropout() < 1)) {
    return InvalidSpec("spec.mlp.dropout",
                       absl::StrCat("expected a number from 0 to below 1, got ", proto.dropout()));
  }
  mlp.normalize_input = proto.normalize_input();
  mlp.dropout = proto.dropout();
  return mlp;
}

absl::StatusOr<BatchNormSpec> ToBatchNorm(const v1::BatchNorm& proto, const std::string& field) {
  if (proto.cumulative() && proto.has_momentum()) {
    return InvalidSpec(field + ".momentum", "expected none beside cumulative");
  }
  BatchNormSpec spec;
  SetIf(proto.has_eps(), proto.eps(), spec.eps);
  SetIf(proto.has_momentum(), proto.momentum(), spec.momentum);
  SetIf(proto.has_affine(), proto.affine(), spec.affine);
  SetIf(proto.has_track_running_stats(), proto.track_running_stats(), spec.track_running_stats);
  spec.cumulative = proto.cumulative();
  if (!v1::TrainingStatistics_IsValid(proto.training_statistics())) {
    return UnknownValue(field + ".training_statistics", proto.training_statistics());
  }
  if (proto.training_statistics() == v1::TRAINING_STATISTICS_RUNNING) {
    spec.training_statistics = TrainingStatistics::kRunning;
  }
  return spec;
}

absl::StatusOr<LayerSpec> ToLayer(const v1::Layer& proto, const std::string& field) {
  switch (proto.kind_case()) {
    case v1::Layer::kLinear: {
      LinearSpec spec;
      SetIf(proto.linear().out_features() != 0, proto.linear().out_features(), spec.out_features);
      SetIf(proto.linear().has_bias(), proto.linear().bias(), spec.bias);
      return spec;
    }
    case v1::Layer::kBatchNorm:
      return ToBatchNorm(proto.batch_norm(), field + ".batch_norm");
    case v1::Layer::kActivation: {
      ActivationSpec spec;
      ASSIGN_OR_RETURN(spec.kind,
                       ToActivation(proto.activation().kind(), field + ".activation.kind"));
      SetIf(proto.activation().has_negative_slope(), proto.activation().negative_slope(),
            spec.negative_slope);
      return spec;
    }
    case v1::Layer::kDropout:
      return DropoutSpec{.p = proto.dropout().p()};
    case v1::Layer::KIND_NOT_SET:
      break;
  }
  return InvalidSpec(field, "expected one of linear, batch_norm, activation, dropout, got none");
}

absl::StatusOr<LossSpec> ToLoss(const v1::Loss& proto) {
  if (!v1::LossKind_IsValid(proto.kind())) return UnknownValue("spec.loss.kind", proto.kind());
  LossSpec loss;
  if (proto.kind() != v1::LOSS_KIND_UNSPECIFIED) {
    loss.kind = static_cast<LossKind>(proto.kind() - 1);
  }
  SetIf(proto.has_beta(), proto.beta(), loss.beta);
  SetIf(proto.has_delta(), proto.delta(), loss.delta);
  SetIf(proto.has_pos_weight(), proto.pos_weight(), loss.pos_weight);
  return loss;
}

template <class Spec, class Proto>
Spec ToAdam(const Proto& proto) {
  Spec s;
  SetIf(proto.has_lr(), proto.lr(), s.lr);
  SetIf(proto.has_beta1(), proto.beta1(), s.beta1);
  SetIf(proto.has_beta2(), proto.beta2(), s.beta2);
  SetIf(proto.has_eps(), proto.eps(), s.eps);
  SetIf(proto.has_weight_decay(), proto.weight_decay(), s.weight_decay);
  s.amsgrad = proto.amsgrad();
  return s;
}

SgdSpec ToSgd(const v1::Sgd& proto) {
  SgdSpec s;
  SetIf(proto.has_lr(), proto.lr(), s.lr);
  SetIf(proto.has_momentum(), proto.momentum(), s.momentum);
  SetIf(proto.has_dampening(), proto.dampening(), s.dampening);
  SetIf(proto.has_weight_decay(), proto.weight_decay(), s.weight_decay);
  s.nesterov = proto.nesterov();
  return s;
}

RmsPropSpec ToRmsProp(const v1::RmsProp& proto) {
  RmsPropSpec s;
  SetIf(proto.has_lr(), proto.lr(), s.lr);
  SetIf(proto.has_alpha(), proto.alpha(), s.alpha);
  SetIf(proto.has_eps(), proto.eps(), s.eps);
  SetIf(proto.has_weight_decay(), proto.weight_decay(), s.weight_decay);
  SetIf(proto.has_momentum(), proto.momentum(), s.momentum);
  s.centered = proto.centered();
  return s;
}

AdagradSpec ToAdagrad(const v1::Adagrad& proto) {
  AdagradSpec s;
  SetIf(proto.has_lr(), proto.lr(), s.lr);
  SetIf(proto.has_lr_decay(), proto.lr_decay(), s.lr_decay);
  SetIf(proto.has_weight_decay(), proto.weight_decay(), s.weight_decay);
  SetIf(proto.has_initial_accumulator_value(), proto.initial_accumulator_value(),
        s.initial_accumulator_value);
  SetIf(proto.has_eps(), proto.eps(), s.eps);
  return s;
}

OptimizerSpec ToOptimizer(const v1::Optimizer& proto) {
  switch (proto.kind_case()) {
    case v1::Optimizer::kSgd:
      return ToSgd(proto.sgd());
    case v1::Optimizer::kAdamw:
      return ToAdam<AdamWSpec>(proto.adamw());
    case v1::Optimizer::kRmsprop:
      return ToRmsProp(proto.rmsprop());
    case v1::Optimizer::kAdagrad:
      return ToAdagrad(proto.adagrad());
    case v1::Optimizer::kAdam:
    case v1::Optimizer::KIND_NOT_SET:
      break;
  }
  return ToAdam<AdamSpec>(proto.adam());
}

ReplaySpec ToReplay(const v1::Replay& proto) {
  return {.capacity = proto.capacity(), .rows_per_step = proto.rows_per_step()};
}

int OneIfUnset(int updates) {
  return updates == 0 ? 1 : updates;
}

std::vector<ExpertSpec> ToExperts(const v1::Learning& proto) {
  std::vector<ExpertSpec> experts;
  for (const v1::Expert& expert : proto.experts()) {
    experts.push_back({.replay = ToReplay(expert.replay()),
                       .updates_per_request = OneIfUnset(expert.updates_per_request()),
                       .learning_rate = expert.learning_rate()});
  }
  return experts;
}

LearningSpec ToLearning(const v1::Learning& proto) {
  LearningSpec s;
  s.clip_grad_norm = proto.clip_grad_norm();
  s.replay = ToReplay(proto.replay());
  s.updates_per_request = OneIfUnset(proto.updates_per_request());
  s.normalize_targets = proto.normalize_targets();
  s.shadow_of = proto.shadow_of();
  s.experts = ToExperts(proto);
  SetIf(proto.hedge_rate() != 0, proto.hedge_rate(), s.hedge_rate);
  SetIf(proto.hedge_discount() != 0, proto.hedge_discount(), s.hedge_discount);
  return s;
}

void WriteReplay(const ReplaySpec& s, v1::Replay* out) {
  out->set_capacity(s.capacity);
  out->set_rows_per_step(s.rows_per_step);
}

void WriteLearning(const LearningSpec& s, v1::Learning* out) {
  out->set_clip_grad_norm(s.clip_grad_norm);
  if (s.replay.capacity > 0) WriteReplay(s.replay, out->mutable_replay());
  if (s.experts.empty()) out->set_updates_per_request(s.updates_per_request);
  out->set_normalize_targets(s.normalize_targets);
  out->set_shadow_of(s.shadow_of);
  for (const ExpertSpec& expert : s.experts) {
    v1::Expert* proto = out->add_experts();
    if (expert.replay.capacity > 0) WriteReplay(expert.replay, proto->mutable_replay());
    proto->set_updates_per_request(expert.updates_per_request);
    proto->set_learning_rate(expert.learning_rate);
  }
  if (s.experts.empty()) return;
  out->set_hedge_rate(s.hedge_rate);
  out->set_hedge_discount(s.hedge_discount);
}

// What is left out above has no effect, until an update makes it so.
void WriteWhole(const LearningSpec& s, v1::Learning* out) {
  out->Clear();
  WriteLearning(s, out);
  out->set_updates_per_request(s.updates_per_request);
  out->set_hedge_rate(s.hedge_rate);
  out->set_hedge_discount(s.hedge_discount);
}

// Writes one layer, loss or optimizer with all its defaults.
struct LayerWriter {
  v1::Layer* out;
  void operator()(const LinearSpec& s) const {
    out->mutable_linear()->set_out_features(s.out_features);
    out->mutable_linear()->set_bias(s.bias);
  }
  void operator()(const BatchNormSpec& s) const {
    v1::BatchNorm* proto = out->mutable_batch_norm();
    proto->set_eps(s.eps);
    proto->set_cumulative(s.cumulative);
    if (!s.cumulative) proto->set_momentum(s.momentum);
    proto->set_affine(s.affine);
    proto->set_track_running_stats(s.track_running_stats);
    proto->set_training_statistics(s.training_statistics == TrainingStatistics::kRunning
                                       ? v1::TRAINING_STATISTICS_RUNNING
                                       : v1::TRAINING_STATISTICS_BATCH);
  }
  void operator()(const ActivationSpec& s) const {
    out->mutable_activation()->set_kind(
        static_cast<v1::ActivationKind>(static_cast<int>(s.kind) + 1));
    if (s.kind == ActivationKind::kLeakyRelu) {
      out->mutable_activation()->set_negative_slope(s.negative_slope);
    }
  }
  void operator()(const DropoutSpec& s) const { out->mutable_dropout()->set_p(s.p); }
};

void WriteLoss(const LossSpec& loss, v1::Loss* out) {
  out->set_kind(static_cast<v1::LossKind>(static_cast<int>(loss.kind) + 1));
  if (loss.kind == LossKind::kSmoothL1) out->set_beta(loss.beta);
  if (loss.kind == LossKind::kHuber) out->set_delta(loss.delta);
  if (loss.kind == LossKind::kBceWithLogits) out->set_pos_weight(loss.pos_weight);
}

struct OptimizerWriter {
  v1::Optimizer* out;
  template <class Spec, class Proto>
  static void WriteAdam(const Spec& s, Proto* proto) {
    proto->set_lr(s.lr);
    proto->set_beta1(s.beta1);
    proto->set_beta2(s.beta2);
    proto->set_eps(s.eps);
    proto->set_weight_decay(s.weight_decay);
    proto->set_amsgrad(s.amsgrad);
  }
  void operator()(const AdamSpec& s) const { WriteAdam(s, out->mutable_adam()); }
  void operator()(const AdamWSpec& s) const { WriteAdam(s, out->mutable_adamw()); }
  void operator()(const SgdSpec& s) const {
    v1::Sgd* proto = out->mutable_sgd();
    proto->set_lr(s.lr);
    proto->set_momentum(s.momentum);
    proto->set_dampening(s.dampening);
    proto->set_weight_decay(s.weight_decay);
    proto->set_nesterov(s.nesterov);
  }
  void operator()(const RmsPropSpec& s) const {
    v1::RmsProp* proto = out->mutable_rmsprop();
    proto->set_lr(s.lr);
    proto->set_alpha(s.alpha);
    proto->set_eps(s.eps);
    proto->set_weight_decay(s.weight_decay);
    proto->set_momentum(s.momentum);
    proto->set_centered(s.centered);
  }
  void operator()(const AdagradSpec& s) const {
    v1::Adagrad* proto = out->mutable_adagrad();
    proto->set_lr(s.lr);
    proto->set_lr_decay(s.lr_decay);
    proto->set_weight_decay(s.weight_decay);
    proto->set_initial_accumulator_value(s.initial_accumulator_value);
    proto->set_eps(s.eps);
  }
};

// The paths an update names, or those of the fields that are set.
std::vector<std::string> UpdatePaths(const v1::UpdateModelRequest& proto) {
  if (proto.has_update_mask()) {
    return {proto.update_mask().paths().begin(), proto.update_mask().paths().end()};
  }
  std::vector<std::string> paths;
  if (proto.has_learning()) paths.push_back("learning");
  if (proto.learning_rate() != 0) paths.push_back("learning_rate");
  return paths;
}

// Takes what one path names over into the command; false if it names nothing.
bool TakePath(absl::string_view path, double learning_rate, const LearningSpec& learning,
              UpdateCommand& command) {
  const bool all = path == "*" || path == "learning";
  bool known = all;
  const auto take = [&](absl::string_view name, const auto& value, auto& field) {
    if (!all && path != absl::StrCat("learning.", name)) return;
    field = value;
    known = true;
  };
  take("clip_grad_norm", learning.clip_grad_norm, command.clip_grad_norm);
  take("replay", learning.replay, command.replay);
  take("updates_per_request", learning.updates_per_request, command.updates_per_request);
  take("normalize_targets", learning.normalize_targets, command.normalize_targets);
  take("shadow_of", learning.shadow_of, command.shadow_of);
  take("experts", learning.experts, command.experts);
  take("hedge_rate", learning.hedge_rate, command.hedge_rate);
  take("hedge_discount", learning.hedge_discount, command.hedge_discount);
  if (path == "*" || path == "learning_rate") {
    command.learning_rate = learning_rate;
    known = true;
  }
  return known;
}

}  // namespace

absl::StatusOr<ModelSpec> FromProto(const v1::ModelSpec& proto) {
  ModelSpec spec;
  if (proto.has_mlp()) {
    if (proto.layers_size() > 0) return InvalidSpec("spec.layers", "expected none beside mlp");
    ASSIGN_OR_RETURN(const MlpSpec mlp, ToMlp(proto.mlp()));
    spec.layers = Expand(mlp);
  }
  for (int i = 0; i < proto.layers_size(); ++i) {
    ASSIGN_OR_RETURN(const LayerSpec layer,
                     ToLayer(proto.layers(i), absl::StrCat("spec.layers[", i, "]")));
    spec.layers.push_back(layer);
  }
  ASSIGN_OR_RETURN(spec.loss, ToLoss(proto.loss()));
  spec.optimizer = ToOptimizer(proto.optimizer());
  spec.learning = ToLearning(proto.learning());
  spec.seed = proto.seed();
  spec.in_features = proto.in_features();
  spec.feature_names.assign(proto.feature_names().begin(), proto.feature_names().end());
  spec.class_names.assign(proto.class_names().begin(), proto.class_names().end());
  return spec;
}

v1::ModelSpec ToProto(const ModelSpec& spec) {
  v1::ModelSpec proto;
  for (const LayerSpec& layer : spec.layers) std::visit(LayerWriter{proto.add_layers()}, layer);
  WriteLoss(spec.loss, proto.mutable_loss());
  std::visit(OptimizerWriter{proto.mutable_optimizer()}, spec.optimizer);
  WriteLearning(spec.learning, proto.mutable_learning());
  proto.set_seed(spec.seed);
  proto.set_in_features(spec.in_features);
  proto.mutable_feature_names()->Assign(spec.feature_names.begin(), spec.feature_names.end());
  proto.mutable_class_names()->Assign(spec.class_names.begin(), spec.class_names.end());
  return proto;
}

v1::ModelSpec ToWholeProto(const ModelSpec& spec) {
  v1::ModelSpec proto = ToProto(spec);
  WriteWhole(spec.learning, proto.mutable_learning());
  return proto;
}

v1::UpdateModelRequest ToProto(const UpdateCommand& command) {
  v1::UpdateModelRequest proto;
  LearningSpec learning;
  google::protobuf::FieldMask* mask = proto.mutable_update_mask();
  const auto put = [&](absl::string_view path, const auto& value, auto& field) {
    if (!value.has_value()) return;
    field = *value;
    mask->add_paths(std::string(path));
  };
  put("learning.clip_grad_norm", command.clip_grad_norm, learning.clip_grad_norm);
  put("learning.replay", command.replay, learning.replay);
  put("learning.updates_per_request", command.updates_per_request, learning.updates_per_request);
  put("learning.normalize_targets", command.normalize_targets, learning.normalize_targets);
  put("learning.shadow_of", command.shadow_of, learning.shadow_of);
  put("learning.experts", command.experts, learning.experts);
  put("learning.hedge_rate", command.hedge_rate, learning.hedge_rate);
  put("learning.hedge_discount", command.hedge_discount, learning.hedge_discount);
  WriteWhole(learning, proto.mutable_learning());
  if (command.learning_rate.has_value()) {
    proto.set_learning_rate(*command.learning_rate);
    mask->add_paths("learning_rate");
  }
  return proto;
}

absl::StatusOr<UpdateCommand> FromProto(const v1::UpdateModelRequest& proto) {
  const std::vector<std::string> paths = UpdatePaths(proto);
  if (paths.empty()) {
    return InvalidUpdate("update_mask",
                         "expected learning or learning_rate, got nothing to change");
  }
  const LearningSpec learning = ToLearning(proto.learning());
  UpdateCommand command;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (TakePath(paths[i], proto.learning_rate(), learning, command)) continue;
    return InvalidUpdate(
        absl::StrCat("update_mask.paths[", i, "]"),
        absl::StrCat("expected learning, learning.FIELD, learning_rate or *, got ", paths[i]));
  }
  return command;
}

std::string ToJson(const ModelSpec& spec) {
  std::string json;
  // Fails only for messages that have an Any.
  (void)google::protobuf::util::MessageToJsonString(ToWholeProto(spec), &json);
  return json;
}

absl::StatusOr<ModelSpec> SpecFromJson(absl::string_view json) {
  v1::ModelSpec proto;
  const auto read = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &proto);
  if (read.ok()) return FromProto(proto);
  return InvalidSpec("spec", absl::StrCat("expected a lazynorm.v1.ModelSpec in JSON: ",
                                          std::string(read.message()).substr(0, 200)));
}

}  // namespace lazynorm
