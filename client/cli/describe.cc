#include "client/cli/describe.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "client/cli/baseline.h"

namespace lazynorm {
namespace {

// "LOSS_KIND_SMOOTH_L1" as "smooth_l1".
std::string ShortName(const std::string& name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

std::string StateText(const v1::Model& model) {
  return ShortName(v1::State_Name(model.state()), "STATE_");
}

std::string CountText(int64_t count) {
  return count > 0 ? absl::StrCat(count) : "-";
}

template <typename Kind>
std::string RateText(absl::string_view name, const Kind& kind) {
  return kind.has_lr() ? absl::StrCat(name, "(lr=", FormatNumber(kind.lr()), ")")
                       : std::string(name);
}

std::string LearnerText(const v1::Replay& replay, int updates) {
  std::vector<std::string> parts;
  if (replay.capacity() > 0) {
    parts.push_back(
        absl::StrCat("replays ", replay.rows_per_step(), " of ", replay.capacity(), " rows"));
  }
  if (updates > 1) parts.push_back(absl::StrCat(updates, " updates a request"));
  return parts.empty() ? "plain" : absl::StrJoin(parts, ", ");
}

// What is asked of learning beyond the optimizer; "" if nothing is.
std::string LearningText(const v1::Learning& learning) {
  std::vector<std::string> parts;
  if (learning.clip_grad_norm() > 0) {
    parts.push_back(absl::StrCat("gradient norm cut at ", FormatNumber(learning.clip_grad_norm())));
  }
  if (learning.normalize_targets()) parts.push_back("targets normalised");
  if (learning.has_replay() || learning.updates_per_request() > 1) {
    parts.push_back(LearnerText(learning.replay(), learning.updates_per_request()));
  }
  if (!learning.shadow_of().empty()) parts.push_back("shadow of " + learning.shadow_of());
  return absl::StrJoin(parts, "; ");
}

}  // namespace

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC",
                          absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos()),
                          absl::UTCTimeZone());
}

std::string LayerText(const v1::Layer& layer) {
  switch (layer.kind_case()) {
    case v1::Layer::kLinear:
      return absl::StrCat("Linear(", std::max(layer.linear().out_features(), 1), ")");
    case v1::Layer::kBatchNorm:
      return layer.batch_norm().training_statistics() == v1::TRAINING_STATISTICS_RUNNING
                 ? "BatchNorm(running)"
                 : "BatchNorm";
    case v1::Layer::kActivation:
      return ShortName(v1::ActivationKind_Name(layer.activation().kind()), "ACTIVATION_KIND_");
    case v1::Layer::kDropout:
      return absl::StrCat("Dropout(", FormatNumber(layer.dropout().p()), ")");
    default:
      return "?";
  }
}

std::string LossText(const v1::Loss& loss) {
  if (loss.kind() == v1::LOSS_KIND_UNSPECIFIED) return "mse";
  return ShortName(v1::LossKind_Name(loss.kind()), "LOSS_KIND_");
}

std::string OptimizerText(const v1::Optimizer& optimizer) {
  switch (optimizer.kind_case()) {
    case v1::Optimizer::kSgd:
      return RateText("sgd", optimizer.sgd());
    case v1::Optimizer::kAdamw:
      return RateText("adamw", optimizer.adamw());
    case v1::Optimizer::kRmsprop:
      return RateText("rmsprop", optimizer.rmsprop());
    case v1::Optimizer::kAdagrad:
      return RateText("adagrad", optimizer.adagrad());
    default:
      return RateText("adam", optimizer.adam());
  }
}

void Describe(const v1::Model& model, Format format, std::ostream* out) {
  if (format == Format::kJson) {
    *out << ToJson(model, /*indented=*/true);
    return;
  }
  const v1::ModelSpec& spec = model.spec();
  std::vector<std::pair<std::string, std::string>> pairs = {
      {"model", model.model_id()},
      {"state", StateText(model)},
      {"step", absl::StrCat(model.step())},
      {"rows trained", absl::StrCat(model.rows_trained())},
      {"in, out",
       absl::StrCat(CountText(model.in_features()), ", ", CountText(model.out_features()))},
      {"parameters", CountText(model.parameter_count())},
      {"layers", absl::StrJoin(spec.layers(), " > ",
                               [](std::string* text, const v1::Layer& layer) {
                                 text->append(LayerText(layer));
                               })},
      {"loss", LossText(spec.loss())},
      {"optimizer", OptimizerText(spec.optimizer())},
      {"seed", absl::StrCat(spec.seed())},
      {"statistics", model.statistics_frozen() ? "frozen" : "learning"}};
  if (const std::string text = LearningText(spec.learning()); !text.empty()) {
    pairs.emplace_back("learning", text);
  }
  for (const v1::Expert& expert : spec.learning().experts()) {
    pairs.emplace_back("expert", LearnerText(expert.replay(), expert.updates_per_request()));
  }
  if (spec.feature_names_size() > 0) {
    pairs.emplace_back("features", absl::StrJoin(spec.feature_names(), ", "));
  }
  if (spec.class_names_size() > 0) {
    pairs.emplace_back("classes", absl::StrJoin(spec.class_names(), ", "));
  }
  pairs.emplace_back("created", TimeText(model.create_time()));
  pairs.emplace_back("updated", TimeText(model.update_time()));
  WritePairs(pairs, out);
}

void DescribeAll(const std::vector<v1::Model>& models, Format format, std::ostream* out) {
  if (format == Format::kJson) {
    for (const v1::Model& model : models) *out << ToJson(model, /*indented=*/false);
    return;
  }
  std::vector<CsvRow> rows;
  rows.reserve(models.size());
  for (const v1::Model& model : models) {
    rows.push_back({model.model_id(), StateText(model), absl::StrCat(model.step()),
                    absl::StrCat(model.rows_trained()), absl::StrCat(model.in_features()),
                    absl::StrCat(model.out_features()), absl::StrCat(model.parameter_count()),
                    LossText(model.spec().loss()), OptimizerText(model.spec().optimizer()),
                    TimeText(model.update_time())});
  }
  WriteTable(
      {"model", "state", "step", "rows", "in", "out", "parameters", "loss", "optimizer", "updated"},
      rows, format, out);
}

}  // namespace lazynorm
