#include "model/network.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/archive.h"
#include "model/batch_norm.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "model/workspace.h"

namespace lazynorm {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// The values of one tensor, wherever they live.
StateTensor Read(const TensorInfo& info, const NetworkState& state) {
  StateTensor tensor{info.name, info.shape, {}, {}};
  switch (info.kind) {
    case TensorKind::kParameter: {
      const float* from = state.parameters.data() + info.offset;
      tensor.values.assign(from, from + info.size);
      break;
    }
    case TensorKind::kStatistic:
      for (int64_t i = 0; i < info.size; ++i) {
        tensor.values.push_back(static_cast<float>(state.statistics[info.offset + i]));
      }
      break;
    case TensorKind::kCounter:
      tensor.int64_values = {state.counters[info.offset]};
      break;
  }
  return tensor;
}

absl::Status CheckTensor(const TensorInfo& info, const StateTensor& tensor,
                         const std::string& field) {
  if (tensor.name != info.name) {
    return InvalidState(field + ".name",
                        absl::StrCat("expected ", info.name, ", got ", tensor.name));
  }
  if (tensor.shape != info.shape) {
    return InvalidState(field + ".shape",
                        absl::StrCat("expected ", ShapeText(info.shape), " for ", info.name,
                                     ", got ", ShapeText(tensor.shape)));
  }
  const bool counter = info.kind == TensorKind::kCounter;
  const int64_t floats = counter ? 0 : info.size;
  if (static_cast<int64_t>(tensor.values.size()) != floats ||
      tensor.int64_values.size() != (counter ? 1u : 0u)) {
    return InvalidState(
        field, absl::StrCat("expected ", floats, " values and ", counter ? 1 : 0,
                            " int64_values for ", info.name, ", got ", tensor.values.size(),
                            " and ", tensor.int64_values.size()));
  }
  for (int64_t i = 0; i < floats; ++i) {
    const bool variance = absl::EndsWith(info.name, ".running_var");
    if (!std::isfinite(tensor.values[i]) || (variance && tensor.values[i] < 0)) {
      return InvalidState(absl::StrCat(field, ".values[", i, "]"),
                          absl::StrCat("expected a finite number", variance ? " of at least 0" : "",
                                       " in ", info.name, ", got ", tensor.values[i]));
    }
  }
  if (counter && (tensor.int64_values[0] < 0 || tensor.int64_values[0] > kMostCount)) {
    return InvalidState(
        field + ".int64_values[0]",
        absl::StrCat("expected a count from 0 to 2^62, got ", tensor.int64_values[0]));
  }
  return absl::OkStatus();
}

void Write(const TensorInfo& info, const StateTensor& tensor, NetworkState& state) {
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    if (info.kind == TensorKind::kParameter) {
      state.parameters[info.offset + i] = tensor.values[i];
    } else {
      state.statistics[info.offset + i] = tensor.values[i];
    }
  }
  if (info.kind == TensorKind::kCounter) state.counters[info.offset] = tensor.int64_values[0];
}

}  // namespace

Network::Network(const std::vector<LayerSpec>& specs, int in_features)
    : specs_(specs), widths_{in_features} {
  first_trained_ = static_cast<int>(specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    layout_.BeginLayer(static_cast<int>(i));
    layers_.push_back(MakeLayer(specs[i], static_cast<int>(i)));
    widths_.push_back(layers_.back()->Resolve(widths_.back(), layout_));
    if (std::holds_alternative<BatchNormSpec>(specs[i])) batch_norm_layers_.push_back(i);
    has_dropout_ = has_dropout_ || std::holds_alternative<DropoutSpec>(specs[i]);
    if (layers_.back()->HasParameters()) first_trained_ = std::min<int>(first_trained_, i);
  }
  for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
    const auto* activation = std::get_if<ActivationSpec>(&specs[i]);
    const bool relu = activation != nullptr && activation->kind == ActivationKind::kRelu;
    if (relu && i > 0 && layers_[i - 1]->TakeRelu()) continue;
    stages_.push_back({layers_[i].get(), i, widths_[i], widths_[i + 1]});
  }
}

NetworkState Network::Start(const Random& random) const {
  NetworkState state;
  state.parameters = Eigen::ArrayXf::Zero(layout_.parameters());
  state.statistics = Eigen::ArrayXd::Zero(layout_.statistics());
  state.counters.assign(layout_.counters(), 0);
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->Initialize(random.Stream(i), state);
  return state;
}

std::vector<StateTensor> Network::Tensors(const NetworkState& state) const {
  std::vector<StateTensor> tensors;
  for (const TensorInfo& info : layout_.tensors()) tensors.push_back(Read(info, state));
  return tensors;
}

std::vector<StateTensor> Network::Gradients() const {
  std::vector<StateTensor> tensors;
  for (const TensorInfo& info : layout_.tensors()) {
    if (info.kind != TensorKind::kParameter || gradients_.data() == nullptr) continue;
    const float* from = gradients_.data() + info.offset;
    tensors.push_back({info.name, info.shape, {from, from + info.size}, {}});
  }
  return tensors;
}

absl::Status Network::SetTensors(const std::vector<StateTensor>& tensors,
                                 NetworkState& state) const {
  const std::vector<TensorInfo>& expected = layout_.tensors();
  std::vector<bool> seen(expected.size(), false);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string field = absl::StrCat("initial_state[", i, "]");
    const auto info = std::find_if(expected.begin(), expected.end(),
                                   [&](const TensorInfo& t) { return t.name == tensors[i].name; });
    if (info == expected.end()) {
      return InvalidState(field + ".name",
                          absl::StrCat("expected a tensor of the model, got ", tensors[i].name));
    }
    if (seen[info - expected.begin()]) {
      return InvalidState(field + ".name", absl::StrCat("expected each tensor once, got ",
                                                        tensors[i].name, " again"));
    }
    seen[info - expected.begin()] = true;
    RETURN_IF_ERROR(CheckTensor(*info, tensors[i], field));
    Write(*info, tensors[i], state);
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (missing == seen.end()) return absl::OkStatus();
  return InvalidState("initial_state",
                      absl::StrCat("expected every tensor of the model, ",
                                   expected[missing - seen.begin()].name, " is missing"));
}

ConstMatrixView Network::Forward(const StepContext& step, ConstMatrixView x) {
  const bool same = step.again && x.data() == x_.data() && x.rows() == x_.rows();
  bool known = same;  // still what the latest pass has put there
  x_ = x;
  Workspace& work = Workspace::OfThread();
  ConstMatrixView in(x);
  for (size_t i = 0; i < stages_.size(); ++i) {
    const Stage& stage = stages_[i];
    MatrixView out(work.layer(stage.index).output.Reserve(x.rows() * stage.out), x.rows(),
                   stage.out);
    known = known && !stage.layer->DependsOnMode();
    if (!known) stage.layer->Forward(step, in, out);
    in = out;
  }
  return in;
}

MatrixView Network::OutputGradient(int64_t rows) {
  return {Workspace::OfThread().flow(stages_.size() % 2).Reserve(rows * out_features()), rows,
          out_features()};
}

const float* Network::Backward(const StepContext& step, MatrixView grad) {
  const int64_t rows = x_.rows();
  float* gradients = gradients_.Reserve(layout_.parameters());
  Workspace& work = Workspace::OfThread();
  ConstMatrixView grad_y = grad;
  for (int i = static_cast<int>(stages_.size()) - 1; i >= 0; --i) {
    const Stage& stage = stages_[i];
    if (stage.index < first_trained_) break;
    const float* before = i == 0 ? x_.data() : work.layer(stages_[i - 1].index).output.data();
    const ConstMatrixView x(before, rows, stage.in);
    const ConstMatrixView y(work.layer(stage.index).output.data(), rows, stage.out);
    MatrixView grad_x(work.flow(i).Reserve(rows * stage.in), rows, stage.in);
    stage.layer->Backward(step, x, y, grad_y, gradients,
                          stage.index > first_trained_ ? &grad_x : nullptr);
    grad_y = grad_x;
  }
  ClearCancelledBiases(step);
  return gradients;
}

// Going backwards from each batch norm that subtracts the batch's own mean: whatever constant is
// added before it cancels, and what arithmetic leaves as a gradient is noise, which an adaptive
// optimizer would blow up to full steps.
void Network::ClearCancelledBiases(const StepContext& step) {
  bool cancelled = false;
  for (int i = static_cast<int>(layers_.size()) - 1; i >= first_trained_; --i) {
    const Layer& layer = *layers_[i];
    if (cancelled && layer.PassesShift()) {
      const ParameterRange bias = layer.Bias();
      std::fill_n(gradients_.data() + bias.offset, bias.size, 0.0f);
    }
    const bool normalises =
        std::binary_search(batch_norm_layers_.begin(), batch_norm_layers_.end(), i) &&
        layer.UsesBatchStatistics(step.mode);
    cancelled = normalises || (cancelled && layer.PassesShift());
  }
}

int Network::FirstBatchLayer(Mode mode) const {
  for (int i : batch_norm_layers_) {
    if (layers_[i]->UsesBatchStatistics(mode)) return i;
  }
  return -1;
}

void Network::AddTo(PlanWriter& plan, const NetworkState& state) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    plan.BeginLayer(static_cast<int>(i));
    layers_[i]->AddTo(plan, state);
  }
}

void Network::BatchNormShifts(std::vector<double>& shifts) const {
  shifts.clear();
  for (int i : batch_norm_layers_) {
    shifts.push_back(static_cast<const BatchNorm&>(*layers_[i]).shift());
  }
}

}  // namespace lazynorm
