#include "model/layer.h"

#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/activation.h"
#include "model/batch_norm.h"
#include "model/dropout.h"
#include "model/linear.h"

namespace lazynorm {

int64_t Layout::Add(const char* name, TensorKind kind, std::vector<int64_t> shape, int64_t& end) {
  int64_t size = 1;
  for (int64_t extent : shape) size *= extent;
  const int64_t offset = end;
  tensors_.push_back({absl::StrCat(layer_, ".", name), kind, std::move(shape), offset, size});
  end += size;
  return offset;
}

int64_t Layout::AddParameter(const char* name, std::vector<int64_t> shape) {
  return Add(name, TensorKind::kParameter, std::move(shape), parameters_);
}

int64_t Layout::AddStatistic(const char* name, int64_t size) {
  return Add(name, TensorKind::kStatistic, {size}, statistics_);
}

int64_t Layout::AddCounter(const char* name) {
  return Add(name, TensorKind::kCounter, {}, counters_);
}

namespace {

struct Factory {
  int index;
  std::unique_ptr<Layer> operator()(const LinearSpec& s) {
    return std::make_unique<Linear>(s, index);
  }
  std::unique_ptr<Layer> operator()(const BatchNormSpec& s) {
    return std::make_unique<BatchNorm>(s, index);
  }
  std::unique_ptr<Layer> operator()(const ActivationSpec& s) {
    return std::make_unique<Activation>(s);
  }
  std::unique_ptr<Layer> operator()(const DropoutSpec& s) {
    return std::make_unique<Dropout>(s, index);
  }
};

}  // namespace

std::unique_ptr<Layer> MakeLayer(const LayerSpec& spec, int index) {
  return std::visit(Factory{index}, spec);
}

}  // namespace lazynorm
