#include "server/formats/onnx.h"

#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

static_assert(std::endian::native == std::endian::little, "raw_data is little-endian");

constexpr int kIrVersion = 8;
constexpr int kOpset = 17;
constexpr char kInput[] = "features";
// As in experts.cc: keeps the logarithm of an average finite.
constexpr float kLeastProbability = 1e-30f;

void Describe(const char* name, int width, onnx::ValueInfoProto* info) {
  info->set_name(name);
  auto* tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(onnx::TensorProto::FLOAT);
  tensor->mutable_shape()->add_dim()->set_dim_param("batch");
  tensor->mutable_shape()->add_dim()->set_dim_value(width);
}

Eigen::ArrayXf Floats(const float* values, int n, float otherwise) {
  if (values == nullptr) return Eigen::ArrayXf::Constant(n, otherwise);
  return Eigen::Map<const Eigen::ArrayXf>(values, n);
}

}  // namespace

OnnxWriter::OnnxWriter(int in_features, const LossSpec& loss)
    : loss_(loss.kind), in_features_(in_features), value_(kInput), width_(in_features) {
  model_.mutable_graph()->set_name("lazynorm");
  Describe(kInput, in_features, model_.mutable_graph()->add_input());
}

std::string OnnxWriter::Unique(absl::string_view name) {
  std::string unique = absl::StrCat(prefix_, name);
  for (int i = 2; !names_.insert(unique).second; ++i) unique = absl::StrCat(prefix_, name, "_", i);
  return unique;
}

const std::string& OnnxWriter::Add(absl::string_view op, std::vector<std::string> inputs) {
  onnx::NodeProto* node = model_.mutable_graph()->add_node();
  value_ = Unique(op);
  node->set_op_type(std::string(op));
  node->set_name(value_);
  for (std::string& input : inputs) node->add_input(std::move(input));
  node->add_output(value_);
  return value_;
}

void OnnxWriter::SetAttribute(const char* name, float value) {
  onnx::AttributeProto* attribute = last().add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::FLOAT);
  attribute->set_f(value);
}

void OnnxWriter::SetAttribute(const char* name, int64_t value) {
  onnx::AttributeProto* attribute = last().add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

std::string OnnxWriter::Constant(absl::string_view name, const std::vector<int64_t>& dims,
                                 const float* values) {
  onnx::TensorProto* tensor = model_.mutable_graph()->add_initializer();
  tensor->set_name(Unique(name));
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  int64_t size = 1;
  for (const int64_t dim : dims) {
    tensor->add_dims(dim);
    size *= dim;
  }
  tensor->set_raw_data(values, size * sizeof(float));
  return tensor->name();
}

std::string OnnxWriter::Vector(absl::string_view name, const Eigen::ArrayXf& values) {
  return Constant(name, {values.size()}, values.data());
}

std::string OnnxWriter::Scalar(absl::string_view name, float value) {
  return Constant(name, {}, &value);
}

void OnnxWriter::BeginExpert(double weight) {
  if (begun_) EndExpert();
  begun_ = true;
  weight_ = static_cast<float>(weight);
  prefix_ = experts_.empty() ? "" : absl::StrCat("experts.", experts_.size(), ".");
}

void OnnxWriter::EndExpert() {
  if (value_ == kInput) Add("Identity", {value_});
  experts_.push_back({weight_, std::exchange(value_, kInput)});
  out_features_ = std::exchange(width_, in_features_);
}

void OnnxWriter::BeginLayer(int index) {
  prefix_ = experts_.empty() ? absl::StrCat(index, ".")
                             : absl::StrCat("experts.", experts_.size(), ".", index, ".");
}

void OnnxWriter::Linear(ConstMatrixView weight, const float* bias) {
  std::vector<std::string> inputs = {
      value_, Constant("weight", {weight.rows(), weight.cols()}, weight.data())};
  width_ = static_cast<int>(weight.rows());
  if (bias != nullptr) inputs.push_back(Constant("bias", {width_}, bias));
  Add("Gemm", std::move(inputs));
  SetAttribute("transB", int64_t{1});
}

void OnnxWriter::Normalize(const double* mean, const double* var, double eps, const float* weight,
                           const float* bias, float cut) {
  Eigen::ArrayXf center = Eigen::Map<const Eigen::ArrayXd>(mean, width_).cast<float>();
  Eigen::ArrayXf spread = Eigen::Map<const Eigen::ArrayXd>(var, width_).cast<float>();
  Eigen::ArrayXf scale = Floats(cut > 0 ? nullptr : weight, width_, 1);
  const Eigen::ArrayXf shift = Floats(cut > 0 ? nullptr : bias, width_, 0);
  for (int c = 0; c < width_; ++c) {
    if (var[c] + eps > 0) continue;
    spread[c] = 1;  // 1 / std is taken as 0
    scale[c] = 0;
  }
  if (value_ == kInput) {
    // Runtimes multiply first. Features may be far from 0: what float32 can say of the mean is
    // subtracted, exactly, and the operator gets the rest.
    Add("Sub", {value_, Vector("running_mean_rounded", center)});
    center = (Eigen::Map<const Eigen::ArrayXd>(mean, width_) - center.cast<double>()).cast<float>();
  }
  Add("BatchNormalization", {value_, Vector(cut > 0 ? "scale" : "weight", scale),
                             Vector(cut > 0 ? "shift" : "bias", shift),
                             Vector("running_mean", center), Vector("running_var", spread)});
  SetAttribute("epsilon", static_cast<float>(eps));
  SetAttribute("training_mode", int64_t{0});
  if (cut <= 0) return;
  Add("Clip", {value_, Scalar("least", -cut), Scalar("most", cut)});
  if (weight != nullptr) Add("Mul", {value_, Constant("weight", {width_}, weight)});
  if (bias != nullptr) Add("Add", {value_, Constant("bias", {width_}, bias)});
}

void OnnxWriter::NormalizeByBatch(double, const float*, const float*) {
  status_ = MakeError(absl::StatusCode::kFailedPrecondition, "NOT_EXPORTABLE", "",
                      absl::StrCat("layer ", prefix_.substr(0, prefix_.size() - 1),
                                   " normalises with the statistics of the batch: expected a batch "
                                   "norm that tracks running statistics"));
}

void OnnxWriter::Gelu() {
  const std::string x = value_;
  Add("Div", {x, Scalar("sqrt_2", static_cast<float>(std::sqrt(2.0)))});
  Add("Erf", {value_});
  Add("Add", {value_, Scalar("one", 1)});
  Add("Mul", {x, value_});
  Add("Mul", {value_, Scalar("half", 0.5f)});
}

void OnnxWriter::Activate(const ActivationSpec& activation) {
  const std::string x = value_;
  switch (activation.kind) {
    case ActivationKind::kIdentity:
      return;
    case ActivationKind::kRelu:
      Add("Relu", {x});
      return;
    case ActivationKind::kLeakyRelu:
      Add("LeakyRelu", {x});
      return SetAttribute("alpha", static_cast<float>(activation.negative_slope));
    case ActivationKind::kElu:
      Add("Elu", {x});
      return SetAttribute("alpha", 1.0f);
    case ActivationKind::kSelu:  // whose defaults are the paper's
      Add("Selu", {x});
      return;
    case ActivationKind::kGelu:
      return Gelu();
    case ActivationKind::kSilu:
      Add("Mul", {x, Add("Sigmoid", {x})});
      return;
    case ActivationKind::kTanh:
      Add("Tanh", {x});
      return;
    case ActivationKind::kSigmoid:
      Add("Sigmoid", {x});
      return;
    case ActivationKind::kSoftplus:
      Add("Softplus", {x});
      return;
  }
}

void OnnxWriter::Denormalize(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& std) {
  Add("Mul", {value_, Vector("targets.std", std.cast<float>())});
  Add("Add", {value_, Vector("targets.mean", mean.cast<float>())});
}

std::string OnnxWriter::WeightedSum(absl::string_view op, bool negated) {
  std::vector<std::string> parts;
  for (const Expert& expert : experts_) {
    value_ = expert.value;
    if (negated) Add("Neg", {value_});
    if (!op.empty()) Add(op, {value_});
    parts.push_back(Add("Mul", {value_, Scalar("expert_weight", expert.weight)}));
  }
  return Add("Sum", std::move(parts));
}

std::string OnnxWriter::LogOf(const std::string& average) {
  Add("Max", {average, Scalar("least_probability", kLeastProbability)});
  return Add("Log", {value_});
}

// As FromAverage in model/experts.h.
void OnnxWriter::Average() {
  if (loss_ == LossKind::kCrossEntropy) {
    LogOf(WeightedSum("Softmax", false));
  } else if (loss_ == LossKind::kBceWithLogits) {
    const std::string positive = LogOf(WeightedSum("Sigmoid", false));
    const std::string negative = LogOf(WeightedSum("Sigmoid", true));
    Add("Sub", {positive, negative});
  } else {
    WeightedSum("", false);
  }
}

// The last node's output gets a name for the outside.
void OnnxWriter::AddOutput(const char* name) {
  last().set_output(0, name);
  value_ = name;
  Describe(name, out_features_, model_.mutable_graph()->add_output());
}

absl::StatusOr<std::string> OnnxWriter::Finish(int64_t step, absl::string_view version) && {
  if (!status_.ok()) return status_;
  EndExpert();
  prefix_.clear();
  value_ = experts_.back().value;
  if (experts_.size() > 1) Average();
  AddOutput("predictions");
  if (IsClassification(loss_)) {
    Add(loss_ == LossKind::kCrossEntropy ? "Softmax" : "Sigmoid", {value_});
    AddOutput("probabilities");
  }
  model_.set_ir_version(kIrVersion);
  model_.add_opset_import()->set_version(kOpset);
  model_.set_producer_name("lazynorm");
  model_.set_producer_version(std::string(version));
  onnx::StringStringEntryProto* entry = model_.add_metadata_props();
  entry->set_key("lazynorm_step");
  entry->set_value(absl::StrCat(step));
  return model_.SerializeAsString();
}

}  // namespace lazynorm
