#include "server/convert/inference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/kernels.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

using Contents = inference::InferTensorContents;
using InputTensor = inference::ModelInferRequest::InferInputTensor;

static_assert(std::endian::native == std::endian::little, "raw tensors are little-endian");

// Elements of one type, one behind the other, wherever they are.
struct Elements {
  const void* data = nullptr;
  int64_t count = 0;
  void (*to_float)(const void* data, int64_t count, float* out) = nullptr;
};

template <class T>
void ToFloat(const void* data, int64_t count, float* out) {
  const char* bytes = static_cast<const char*>(data);  // of any alignment
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

// Any byte but 0 is true.
void BoolToFloat(const void* data, int64_t count, float* out) {
  const char* bytes = static_cast<const char*>(data);
  for (int64_t i = 0; i < count; ++i) out[i] = bytes[i] != 0 ? 1.0f : 0.0f;
}

template <class T>
Elements ElementsOf(const google::protobuf::RepeatedField<T>& field) {
  return {field.data(), field.size(), &ToFloat<T>};
}

// How the elements of a datatype travel.
struct Datatype {
  absl::string_view name;
  int size;  // raw, in bytes
  void (*raw_to_float)(const void*, int64_t, float*);
  const char* field = nullptr;  // typed; null if there is none
  Elements (*typed)(const Contents& contents) = nullptr;
};

constexpr auto kInts = [](const Contents& c) { return ElementsOf(c.int_contents()); };
constexpr auto kUints = [](const Contents& c) { return ElementsOf(c.uint_contents()); };

const Datatype kDatatypes[] = {
    {"FP32", 4, &ToFloat<float>, "fp32_contents",
     [](const Contents& c) { return ElementsOf(c.fp32_contents()); }},
    {"FP64", 8, &ToFloat<double>, "fp64_contents",
     [](const Contents& c) { return ElementsOf(c.fp64_contents()); }},
    {"FP16", 2, &ToFloat<Eigen::half>},
    {"BF16", 2, &ToFloat<Eigen::bfloat16>},
    {"INT8", 1, &ToFloat<int8_t>, "int_contents", kInts},
    {"INT16", 2, &ToFloat<int16_t>, "int_contents", kInts},
    {"INT32", 4, &ToFloat<int32_t>, "int_contents", kInts},
    {"INT64", 8, &ToFloat<int64_t>, "int64_contents",
     [](const Contents& c) { return ElementsOf(c.int64_contents()); }},
    {"UINT8", 1, &ToFloat<uint8_t>, "uint_contents", kUints},
    {"UINT16", 2, &ToFloat<uint16_t>, "uint_contents", kUints},
    {"UINT32", 4, &ToFloat<uint32_t>, "uint_contents", kUints},
    {"UINT64", 8, &ToFloat<uint64_t>, "uint64_contents",
     [](const Contents& c) { return ElementsOf(c.uint64_contents()); }},
    {"BOOL", 1, &BoolToFloat, "bool_contents",
     [](const Contents& c) { return ElementsOf(c.bool_contents()); }},
};

absl::StatusOr<const Datatype*> FindDatatype(absl::string_view name) {
  for (const Datatype& datatype : kDatatypes) {
    if (datatype.name == name) return &datatype;
  }
  return ShapeMismatch("inputs[0].datatype",
                       "FP32, FP64, FP16, BF16, BOOL, INT8 to INT64 or UINT8 to UINT64",
                       absl::StrCat("\"", name.substr(0, 40), "\""));
}

int64_t CountOfAll(const Contents& c) {
  return int64_t{c.bool_contents_size()} + c.int_contents_size() + c.int64_contents_size() +
         c.uint_contents_size() + c.uint64_contents_size() + c.fp32_contents_size() +
         c.fp64_contents_size() + c.bytes_contents_size();
}

absl::Status CheckSize(const InputTensor& input, int i, int most) {
  const int64_t size = input.shape(i);
  const std::string field = absl::StrCat("inputs[0].shape[", i, "]");
  if (size <= 0) return ShapeMismatch(field, "at least 1", absl::StrCat(size));
  if (size <= most) return absl::OkStatus();
  return LimitExceeded(field, absl::StrCat("expected at most ", most, ", got ", size));
}

absl::Status CheckInput(const inference::ModelInferRequest& request, const RequestLimits& limits) {
  if (request.inputs_size() != 1) {
    return ShapeMismatch("inputs", absl::StrCat("one tensor, \"", kInferInput, "\""),
                         absl::StrCat(request.inputs_size()));
  }
  const InputTensor& input = request.inputs(0);
  if (input.name() != kInferInput) {
    return ShapeMismatch("inputs[0].name", absl::StrCat("\"", kInferInput, "\""),
                         absl::StrCat("\"", input.name().substr(0, 80), "\""));
  }
  if (input.shape_size() != 2) {
    return ShapeMismatch("inputs[0].shape", "2 dimensions, rows and columns",
                         absl::StrCat(input.shape_size()));
  }
  if (input.shape(0) == 0) return EmptyBatch();
  RETURN_IF_ERROR(CheckSize(input, 0, limits.max_rows));
  return CheckSize(input, 1, limits.max_width);
}

absl::StatusOr<Elements> RawElements(const inference::ModelInferRequest& request,
                                     const Datatype& datatype, int64_t count) {
  if (request.raw_input_contents_size() != 1) {
    return ShapeMismatch("raw_input_contents", "one element, as there is one input",
                         absl::StrCat(request.raw_input_contents_size()));
  }
  if (CountOfAll(request.inputs(0).contents()) > 0) {
    return ShapeMismatch("inputs[0].contents", "no typed data beside raw_input_contents",
                         absl::StrCat(CountOfAll(request.inputs(0).contents()), " elements"));
  }
  const std::string& bytes = request.raw_input_contents(0);
  if (static_cast<int64_t>(bytes.size()) != count * datatype.size) {
    return ShapeMismatch(
        "raw_input_contents[0]",
        absl::StrCat(count * datatype.size, " bytes, ", count, " elements of ", datatype.name),
        absl::StrCat(bytes.size()));
  }
  return Elements{bytes.data(), count, datatype.raw_to_float};
}

absl::StatusOr<Elements> TypedElements(const InputTensor& input, const Datatype& datatype,
                                       int64_t count) {
  if (datatype.field == nullptr) {
    return ShapeMismatch("inputs[0].contents",
                         absl::StrCat("raw_input_contents, as ", datatype.name, " exists only raw"),
                         "none");
  }
  const Elements elements = datatype.typed(input.contents());
  if (elements.count != count) {
    return ShapeMismatch(absl::StrCat("inputs[0].contents.", datatype.field),
                         absl::StrCat(count, " elements of ", datatype.name),
                         absl::StrCat(elements.count));
  }
  if (CountOfAll(input.contents()) != count) {
    return ShapeMismatch("inputs[0].contents", absl::StrCat("data in ", datatype.field, " alone"),
                         "more");
  }
  return elements;
}

bool IsAligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % alignof(float) == 0;
}

absl::Status CheckFinite(ConstMatrixView x, absl::string_view field) {
  if (ActiveKernels().all_finite(x.data(), x.size())) return absl::OkStatus();
  int64_t i = 0;
  while (std::isfinite(x.data()[i])) ++i;
  return NonFiniteValue(field, i, x.data()[i]);
}

absl::StatusOr<int64_t> ToInt64(const inference::InferParameter& parameter,
                                absl::string_view name) {
  if (parameter.has_int64_param()) return parameter.int64_param();
  return ShapeMismatch(absl::StrCat("parameters.", name), "an int64_param", "another kind");
}

}  // namespace

absl::StatusOr<InferInput> ToInferInput(const inference::ModelInferRequest& request,
                                        const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckInput(request, limits));
  const InputTensor& tensor = request.inputs(0);
  ASSIGN_OR_RETURN(const Datatype* datatype, FindDatatype(tensor.datatype()));
  const int64_t rows = tensor.shape(0), columns = tensor.shape(1);
  const bool raw = request.raw_input_contents_size() > 0;
  ASSIGN_OR_RETURN(const Elements elements, raw ? RawElements(request, *datatype, rows * columns)
                                                : TypedElements(tensor, *datatype, rows * columns));
  InferInput input;
  if (elements.to_float == &ToFloat<float> && IsAligned(elements.data)) {
    input.x = {static_cast<const float*>(elements.data), rows, columns};
  } else {
    input.converted.resize(rows, columns);
    elements.to_float(elements.data, elements.count, input.converted.data());
    input.x = ViewOf(std::as_const(input.converted));
  }
  RETURN_IF_ERROR(CheckFinite(input.x, raw ? std::string("raw_input_contents[0]")
                                           : absl::StrCat("inputs[0].contents.", datatype->field)));
  return input;
}

absl::StatusOr<InferSettings> ToInferSettings(const inference::ModelInferRequest& request) {
  InferSettings settings;
  const auto& parameters = request.parameters();
  if (const auto found = parameters.find("min_step"); found != parameters.end()) {
    ASSIGN_OR_RETURN(settings.min_step, ToInt64(found->second, "min_step"));
  }
  if (const auto found = parameters.find("timeout"); found != parameters.end()) {
    ASSIGN_OR_RETURN(const int64_t microseconds, ToInt64(found->second, "timeout"));
    if (microseconds > 0) settings.timeout = absl::Microseconds(microseconds);
  }
  return settings;
}

const char* NameOf(InferOutput output) {
  return output == InferOutput::kPredictions ? "predictions" : "probabilities";
}

std::vector<InferOutput> InferOutputsOf(LossKind loss) {
  if (!IsClassification(loss)) return {InferOutput::kPredictions};
  return {InferOutput::kPredictions, InferOutput::kProbabilities};
}

absl::StatusOr<std::vector<InferOutput>> ToInferOutputs(const inference::ModelInferRequest& request,
                                                        LossKind loss) {
  const std::vector<InferOutput> all = InferOutputsOf(loss);
  if (request.outputs().empty()) return all;
  std::vector<InferOutput> asked;
  for (const auto& output : request.outputs()) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](InferOutput one) { return output.name() == NameOf(one); });
    const bool again =
        found != all.end() && std::find(asked.begin(), asked.end(), *found) != asked.end();
    if (found == all.end() || again) {
      const char* names =
          all.size() > 1 ? "predictions or probabilities, each once" : "predictions, once";
      return TargetMismatch(
          absl::StrCat("outputs[", asked.size(), "].name"), names,
          absl::StrCat("\"", output.name().substr(0, 80), "\"", again ? " again" : ""));
    }
    asked.push_back(*found);
  }
  return asked;
}

MatrixView AddInferOutput(InferOutput output, int64_t rows, int64_t columns, bool raw,
                          inference::ModelInferResponse* response) {
  auto* tensor = response->add_outputs();
  tensor->set_name(NameOf(output));
  tensor->set_datatype("FP32");
  tensor->add_shape(rows);
  tensor->add_shape(columns);
  if (!raw) {
    auto* values = tensor->mutable_contents()->mutable_fp32_contents();
    values->Resize(static_cast<int>(rows * columns), 0.0f);
    return {values->mutable_data(), rows, columns};
  }
  std::string* bytes = response->add_raw_output_contents();
  bytes->resize(rows * columns * sizeof(float));
  // A string's bytes begin where any number may.
  return {reinterpret_cast<float*>(bytes->data()), rows, columns};
}

}  // namespace lazynorm
