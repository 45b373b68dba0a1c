#include "client/cli/spec_flags.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/data_flags.h"
#include "client/cli/errors.h"
#include "client/cli/preset.h"
#include "client/cli/survey.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"

namespace lazynorm {
namespace {

const std::map<std::string, v1::LossKind>& LossNames() {
  static const auto* const names =
      new std::map<std::string, v1::LossKind>{{"mse", v1::LOSS_KIND_MSE},
                                              {"l1", v1::LOSS_KIND_L1},
                                              {"smooth_l1", v1::LOSS_KIND_SMOOTH_L1},
                                              {"huber", v1::LOSS_KIND_HUBER},
                                              {"bce", v1::LOSS_KIND_BCE_WITH_LOGITS},
                                              {"cross_entropy", v1::LOSS_KIND_CROSS_ENTROPY}};
  return *names;
}

std::vector<std::string> ActivationNames() {
  return {"identity", "relu", "leaky_relu", "elu",     "selu",
          "gelu",     "silu", "tanh",       "sigmoid", "softplus"};
}

// Keeps the first error of a text-format file, for one line of our own.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text.empty()) text = absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }
  std::string text;
};

absl::StatusOr<v1::ModelSpec> ReadSpec(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return InputError(absl::StrCat(path, ": ", errno != 0 ? std::strerror(errno) : "empty"));
  }
  v1::ModelSpec spec;
  if (absl::EndsWith(path, ".json")) {
    const auto status = google::protobuf::util::JsonStringToMessage(text.str(), &spec);
    if (status.ok()) return spec;
    return InputError(absl::StrCat(path, ": ", std::string(status.message())));
  }
  if (!absl::EndsWith(path, ".textproto")) {
    return InputError(absl::StrCat(path, ": expected a .json or .textproto file"));
  }
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (parser.ParseFromString(text.str(), &spec)) return spec;
  return InputError(absl::StrCat(path, ":", error.text));
}

// Sets what all optimizers share.
template <typename Kind>
void SetRates(const SpecFlags& flags, Kind* optimizer) {
  if (flags.lr.has_value()) optimizer->set_lr(*flags.lr);
  if (flags.weight_decay.has_value()) optimizer->set_weight_decay(*flags.weight_decay);
}

absl::Status SetOptimizer(const SpecFlags& flags, v1::Optimizer* optimizer) {
  if (flags.optimizer == "sgd") {
    SetRates(flags, optimizer->mutable_sgd());
    if (flags.momentum.has_value()) optimizer->mutable_sgd()->set_momentum(*flags.momentum);
    return absl::OkStatus();
  }
  if (flags.optimizer == "rmsprop") {
    SetRates(flags, optimizer->mutable_rmsprop());
    if (flags.momentum.has_value()) optimizer->mutable_rmsprop()->set_momentum(*flags.momentum);
    return absl::OkStatus();
  }
  if (flags.momentum.has_value()) {
    return InputError("--momentum: only sgd and rmsprop have one; add --optimizer sgd");
  }
  if (flags.optimizer == "adamw") {
    SetRates(flags, optimizer->mutable_adamw());
  } else if (flags.optimizer == "adagrad") {
    SetRates(flags, optimizer->mutable_adagrad());
  } else {
    SetRates(flags, optimizer->mutable_adam());
  }
  return absl::OkStatus();
}

v1::Mlp ToMlp(const SpecFlags& flags) {
  v1::Mlp mlp;
  mlp.mutable_hidden()->Add(flags.hidden.begin(), flags.hidden.end());
  mlp.set_out_features(flags.outputs);
  const std::vector<std::string> names = ActivationNames();
  const auto found = std::find(names.begin(), names.end(), flags.activation);
  if (found != names.end()) {  // in the order of the enum, whose zero is unspecified
    mlp.set_activation(static_cast<v1::ActivationKind>(found - names.begin() + 1));
  }
  mlp.set_normalize_input(flags.normalize_input);
  mlp.set_dropout(flags.dropout);
  return mlp;
}

void AddShapeOptions(CLI::App* command, SpecFlags* flags) {
  AddListOption(command, "--hidden", &flags->hidden, "Widths of the hidden layers (stream: 32,16)",
                "N,..");
  command->add_option("--outputs", flags->outputs, "1 unless --target or classes say more")
      ->type_name("N");
  command
      ->add_option("--activation", flags->activation,
                   "relu (default), identity, leaky_relu, elu, selu, gelu, silu, tanh, sigmoid, "
                   "softplus")
      ->type_name("NAME")
      ->check(CLI::IsMember(ActivationNames()).description(""));
  command->add_flag("--normalize-input", flags->normalize_input,
                    "Begin with a batch norm (stream: always)");
  command->add_option("--dropout", flags->dropout, "Probability of a zero")->type_name("P");
}

void AddTrainingOptions(CLI::App* command, SpecFlags* flags) {
  command
      ->add_option("--loss", flags->loss,
                   "mse (default for numbers), l1, smooth_l1, huber, bce, cross_entropy (default "
                   "where the target is text)")
      ->type_name("NAME")
      ->check(CLI::IsMember(LossNames()).description(""));
  command
      ->add_option("--optimizer", flags->optimizer, "adam (default), adamw, sgd, rmsprop, adagrad")
      ->type_name("NAME")
      ->check(CLI::IsMember({"adam", "adamw", "sgd", "rmsprop", "adagrad"}).description(""));
  command->add_option("--lr", flags->lr, "Learning rate (stream: 0.01 for adam)")->type_name("X");
  command->add_option("--momentum", flags->momentum, "For sgd and rmsprop")->type_name("X");
  command->add_option("--weight-decay", flags->weight_decay)->type_name("X");
  command->add_option("--clip-grad-norm", flags->clip_grad_norm, "0: off (stream: 1)")
      ->type_name("X");
}

}  // namespace

void AddSpecOptions(CLI::App* command, SpecFlags* flags) {
  // All options added from here on.
  const size_t others = command->get_options().size();
  command->add_option("--spec", flags->file, "A ModelSpec in a .json or .textproto file")
      ->type_name("FILE");
  command
      ->add_option("--preset", flags->preset,
                   "stream (default): what learns well from rows in order, a few at a time; torch: "
                   "PyTorch's behaviour and nothing else. Options given beside it win")
      ->type_name("NAME")
      ->check(CLI::IsMember({"stream", "torch"}).description(""));
  AddShapeOptions(command, flags);
  AddTrainingOptions(command, flags);
  command->add_option("--seed", flags->seed, "Draws the initial parameters")->type_name("N");
  command->add_option("--in-features", flags->in_features, "0: known at the first request")
      ->type_name("N");
  AddListOption(command, "--feature-names", &flags->feature_names, "Of the columns, in order",
                "NAME,..");
  AddListOption(command, "--class-names", &flags->class_names, "In the order of their labels",
                "NAME,..");
  flags->options = command->get_options();
  flags->options.erase(flags->options.begin(), flags->options.begin() + others);
  for (CLI::Option* option : flags->options) option->group("The model");
}

std::string FirstGiven(const SpecFlags& flags) {
  for (const CLI::Option* option : flags.options) {
    if (option->count() > 0) return option->get_name();
  }
  return "";
}

absl::StatusOr<v1::ModelSpec> ToSpec(const SpecFlags& flags) {
  if (!flags.file.empty()) {
    for (const CLI::Option* option : flags.options) {
      if (option->count() == 0 || option->get_name() == "--spec") continue;
      return InputError(absl::StrCat(option->get_name(), ": the file given by --spec says it all"));
    }
    return ReadSpec(flags.file);
  }
  v1::ModelSpec spec;
  *spec.mutable_mlp() = ToMlp(flags);
  if (!flags.loss.empty()) spec.mutable_loss()->set_kind(LossNames().at(flags.loss));
  if (absl::Status status = SetOptimizer(flags, spec.mutable_optimizer()); !status.ok()) {
    return status;
  }
  if (flags.clip_grad_norm.value_or(0) != 0) {
    spec.mutable_learning()->set_clip_grad_norm(*flags.clip_grad_norm);
  }
  spec.set_seed(flags.seed);
  spec.set_in_features(flags.in_features);
  spec.mutable_feature_names()->Add(flags.feature_names.begin(), flags.feature_names.end());
  spec.mutable_class_names()->Add(flags.class_names.begin(), flags.class_names.end());
  if (flags.outputs == 0 && !flags.class_names.empty() &&
      spec.loss().kind() == v1::LOSS_KIND_CROSS_ENTROPY) {
    spec.mutable_mlp()->set_out_features(spec.class_names_size());
  }
  return spec;
}

absl::Status FitToTable(const std::string& path, const ColumnOptions& columns,
                        v1::ModelSpec* spec) {
  const bool mlp_open = spec->has_mlp() && spec->mlp().out_features() == 0;
  if (mlp_open && spec->loss().kind() == v1::LOSS_KIND_UNSPECIFIED && !columns.targets.empty()) {
    const absl::StatusOr<bool> text = TargetsAreText(path, columns);
    if (!text.ok()) return text.status();
    if (*text) spec->mutable_loss()->set_kind(v1::LOSS_KIND_CROSS_ENTROPY);
  }
  const bool cross_entropy = spec->loss().kind() == v1::LOSS_KIND_CROSS_ENTROPY;
  const bool classes_open = cross_entropy && spec->class_names_size() == 0 &&
                            !columns.targets.empty() && (mlp_open || path != "-");
  const absl::StatusOr<Survey> survey = SurveyTable(path, columns, classes_open);
  if (!survey.ok()) return survey.status();
  if (spec->feature_names_size() == 0) {
    spec->mutable_feature_names()->Add(survey->feature_names.begin(), survey->feature_names.end());
  }
  if (classes_open) {
    const int classes = survey->targets_are_class_numbers
                            ? survey->largest_class + 1
                            : static_cast<int>(survey->targets.size());
    if (mlp_open) spec->mutable_mlp()->set_out_features(classes);
    if (!survey->targets_are_class_numbers) {
      spec->mutable_class_names()->Add(survey->targets.begin(), survey->targets.end());
    }
  } else if (!cross_entropy && mlp_open && columns.targets.size() > 1) {
    spec->mutable_mlp()->set_out_features(static_cast<int>(columns.targets.size()));
  }
  return absl::OkStatus();
}

void ApplyPreset(const SpecFlags& flags, v1::ModelSpec* spec) {
  if (flags.preset != "stream" || !flags.file.empty()) return;
  ApplyStreamPreset(flags.clip_grad_norm.has_value(), spec);
}

}  // namespace lazynorm
