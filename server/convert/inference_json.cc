#include "server/convert/inference_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

using nlohmann::json;

// What a request may have beside its data.
constexpr int kMostValues = 1000;
constexpr int kMostDepth = 16;

absl::Status Refused(absl::string_view field, absl::string_view expected, const json& got) {
  const std::string kind = got.is_discarded() ? "none" : got.type_name();
  return ShapeMismatch(field, expected, kind);
}

// Sees a request while it is parsed: takes the numbers of the tensor's data out, so that no more
// than a float is kept of each, and bounds the rest.
class Collector {
 public:
  bool operator()(int depth, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if (event == Event::key) return OnKey(depth, value);
    if (InData(depth) && event == Event::value) return Take(value);
    if (event == Event::array_end && in_data_ && depth == kDataDepth + 1) EndRow();
    if (event == Event::object_end || event == Event::array_end) return true;
    too_deep_ |= depth > kMostDepth;
    return ++kept_ <= kMostValues && !too_deep_;
  }

  // The numbers of a tensor of this type and shape, if that is what was there.
  absl::Status Check(absl::string_view datatype, const json& shape) const;
  absl::Status CheckRest() const {
    if (too_deep_)
      return ShapeMismatch("", absl::StrCat("at most ", kMostDepth, " levels"), "more");
    if (kept_ <= kMostValues) return absl::OkStatus();
    return ShapeMismatch("", absl::StrCat("at most ", kMostValues, " values beside the data"),
                         "more");
  }
  google::protobuf::RepeatedField<float>& values() { return values_; }

 private:
  // Of {"inputs": [{"data": [
  static constexpr int kDataDepth = 3;

  bool OnKey(int depth, const json& key) {
    if (depth == 1) in_inputs_ = key == "inputs";
    if (depth <= kDataDepth) in_data_ = in_inputs_ && depth == kDataDepth && key == "data";
    times_ += in_data_ && depth == kDataDepth ? 1 : 0;
    return true;
  }
  bool InData(int depth) const { return in_data_ && depth > kDataDepth; }

  bool Take(const json& value) {
    numbers_ |= value.is_number();
    bools_ |= value.is_boolean();
    others_ |= !value.is_number() && !value.is_boolean();
    float number = 0;
    if (value.is_boolean()) number = value.get<bool>() ? 1.0f : 0.0f;
    if (value.is_number()) number = value.get<float>();
    if (value.is_number_float())
      fractions_ |= value.get<double>() != std::trunc(value.get<double>());
    values_.Add(number);
    return false;
  }

  void EndRow() {
    const int64_t length = values_.size() - row_begin_;
    columns_ = rows_ == 0 || columns_ == length ? length : -1;
    ++rows_;
    row_begin_ = values_.size();
  }

  bool in_inputs_ = false, in_data_ = false, too_deep_ = false;
  int kept_ = 0;
  int times_ = 0;  // that there were data
  bool numbers_ = false, fractions_ = false, bools_ = false, others_ = false;
  google::protobuf::RepeatedField<float> values_;
  // If they are given as rows: how many, and how long each is; -1 if they differ.
  int64_t rows_ = 0, columns_ = 0, row_begin_ = 0;
};

absl::Status Collector::Check(absl::string_view datatype, const json& shape) const {
  constexpr char kField[] = "inputs[0].data";
  if (times_ != 1) return ShapeMismatch(kField, "data, once", absl::StrCat(times_, " times"));
  if (others_) return ShapeMismatch(kField, "numbers", "something else");
  const bool is_bool = datatype == "BOOL";
  if (is_bool ? numbers_ : bools_) {
    return ShapeMismatch(kField, is_bool ? "true or false" : "numbers",
                         is_bool ? "numbers" : "true or false");
  }
  if (fractions_ && absl::StrContains(datatype, "INT")) {
    return ShapeMismatch(kField, absl::StrCat("whole numbers of ", datatype), "a fraction");
  }
  const bool in_rows = rows_ > 0;
  if (in_rows && (row_begin_ != values_.size() || json({rows_, columns_}) != shape)) {
    return ShapeMismatch(
        kField, absl::StrCat("rows as the shape has them, ", shape.dump()),
        columns_ < 0 ? "rows of different lengths" : absl::StrCat(rows_, " rows of ", columns_));
  }
  return absl::OkStatus();
}

// The member of an object, `discarded` if there is none.
const json& Member(const json& object, const char* key) {
  static const json none(json::value_t::discarded);
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

absl::StatusOr<std::string> Text(const json& object, const char* key, absl::string_view field) {
  const json& value = Member(object, key);
  if (value.is_string()) return value.get<std::string>();
  return Refused(field, "text", value);
}

absl::Status ReadParameters(const json& parameters, inference::ModelInferRequest* request) {
  if (parameters.is_discarded()) return absl::OkStatus();
  if (!parameters.is_object()) return Refused("parameters", "an object", parameters);
  for (const auto& [name, value] : parameters.items()) {
    inference::InferParameter& parameter = (*request->mutable_parameters())[name];
    if (value.is_boolean()) parameter.set_bool_param(value.get<bool>());
    if (value.is_string()) parameter.set_string_param(value.get<std::string>());
    if (value.is_number_float()) parameter.set_double_param(value.get<double>());
    const bool too_large =
        value.is_number_unsigned() &&
        value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (too_large) {
      parameter.set_uint64_param(value.get<uint64_t>());
    } else if (value.is_number_integer()) {
      parameter.set_int64_param(value.get<int64_t>());
    }
  }
  return absl::OkStatus();
}

// What is declared as one of these is handed on as float32.
bool IsNumeric(absl::string_view datatype) {
  return datatype == "FP32" || datatype == "FP64" || datatype == "BOOL" ||
         absl::StartsWith(datatype, "INT") || absl::StartsWith(datatype, "UINT");
}

absl::Status ReadInput(const json& object, Collector& data,
                       inference::ModelInferRequest::InferInputTensor* input) {
  if (!object.is_object()) return Refused("inputs", "objects", object);
  ASSIGN_OR_RETURN(*input->mutable_name(), Text(object, "name", "inputs[0].name"));
  ASSIGN_OR_RETURN(const std::string datatype, Text(object, "datatype", "inputs[0].datatype"));
  const json& shape = Member(object, "shape");
  if (!shape.is_array()) return Refused("inputs[0].shape", "an array", shape);
  for (const json& size : shape) {
    if (!size.is_number_integer()) return Refused("inputs[0].shape", "whole numbers", size);
    input->add_shape(size.get<int64_t>());
  }
  input->set_datatype(datatype);
  if (!IsNumeric(datatype)) return absl::OkStatus();
  const json& left = Member(object, "data");  // an array, of which the numbers are gone
  if (!left.is_array()) return Refused("inputs[0].data", "an array", left);
  RETURN_IF_ERROR(data.Check(datatype, shape));
  input->set_datatype("FP32");
  input->mutable_contents()->mutable_fp32_contents()->Swap(&data.values());
  return absl::OkStatus();
}

absl::Status ReadRequest(const json& root, Collector& data, inference::ModelInferRequest* request) {
  RETURN_IF_ERROR(data.CheckRest());
  if (!root.is_object()) return Refused("", "an object", root);
  if (root.contains("id")) {
    ASSIGN_OR_RETURN(*request->mutable_id(), Text(root, "id", "id"));
  }
  RETURN_IF_ERROR(ReadParameters(Member(root, "parameters"), request));
  const json& inputs = Member(root, "inputs");
  if (!inputs.is_array()) return Refused("inputs", "an array", inputs);
  if (inputs.size() != 1) return ShapeMismatch("inputs", "one tensor", absl::StrCat(inputs.size()));
  RETURN_IF_ERROR(ReadInput(inputs[0], data, request->add_inputs()));
  const json& outputs = Member(root, "outputs");
  if (outputs.is_discarded()) return absl::OkStatus();
  if (!outputs.is_array()) return Refused("outputs", "an array", outputs);
  for (const json& output : outputs) {
    if (!output.is_object()) return Refused("outputs", "objects", output);
    ASSIGN_OR_RETURN(*request->add_outputs()->mutable_name(), Text(output, "name", "outputs.name"));
  }
  return absl::OkStatus();
}

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The shortest text that reads back as the same float.
void AppendNumber(float value, std::string* out) {
  if (!std::isfinite(value)) return absl::StrAppend(out, "null");
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  out->append(digits, end);
}

json TensorsToJson(
    const google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>&
        tensors) {
  json array = json::array();
  for (const auto& tensor : tensors) {
    array.push_back(
        {{"name", tensor.name()}, {"datatype", tensor.datatype()}, {"shape", tensor.shape()}});
  }
  return array;
}

}  // namespace

absl::Status FromJson(absl::string_view text, inference::ModelInferRequest* request) {
  Collector data;
  try {
    const json root = json::parse(text.begin(), text.end(), std::ref(data));
    return ReadRequest(root, data, request);
  } catch (const json::exception& error) {
    absl::string_view what = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    what.remove_prefix(std::min(what.size(), what.find("] ") + 2));
    return ShapeMismatch("", "JSON", what.substr(0, 200));
  }
}

std::string ToJson(const inference::ModelInferResponse& response) {
  std::string out = absl::StrCat("{\"model_name\":", Dump(response.model_name()),
                                 ",\"model_version\":", Dump(response.model_version()));
  if (!response.id().empty()) absl::StrAppend(&out, ",\"id\":", Dump(response.id()));
  absl::StrAppend(&out, ",\"outputs\":[");
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& tensor = response.outputs(i);
    absl::StrAppend(&out, i > 0 ? "," : "", "{\"name\":", Dump(tensor.name()),
                    ",\"datatype\":", Dump(tensor.datatype()), ",\"shape\":", Dump(tensor.shape()),
                    ",\"data\":[");
    const auto& values = tensor.contents().fp32_contents();
    for (int k = 0; k < values.size(); ++k) {
      if (k > 0) out += ',';
      AppendNumber(values[k], &out);
    }
    out += "]}";
  }
  return out + "]}";
}

std::string ToJson(const inference::ModelMetadataResponse& response) {
  return Dump({{"name", response.name()},
               {"versions", response.versions()},
               {"platform", response.platform()},
               {"inputs", TensorsToJson(response.inputs())},
               {"outputs", TensorsToJson(response.outputs())}});
}

std::string ToJson(const inference::ServerMetadataResponse& response) {
  return Dump({{"name", response.name()},
               {"version", response.version()},
               {"extensions", response.extensions()}});
}

std::string ErrorToJson(absl::string_view message) {
  return Dump({{"error", std::string(message)}});
}

}  // namespace lazynorm
