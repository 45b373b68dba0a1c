#ifndef LAZYNORM_SERVER_CONVERT_INFERENCE_JSON_H_
#define LAZYNORM_SERVER_CONVERT_INFERENCE_JSON_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "inference/inference_service.pb.h"

namespace lazynorm {

// The JSON form of the Open Inference Protocol's messages.

// Reads the body of an infer request: {"id", "parameters", "inputs": [{"name", "shape", "datatype",
// "data"}], "outputs": [{"name"}]}; data flat or as rows, and kept as float32 whatever number type
// is declared. Unknown keys are skipped. What is read takes memory in proportion to `json` and no
// recursion. INVALID_ARGUMENT (SHAPE_MISMATCH), naming the place.
absl::Status FromJson(absl::string_view json, inference::ModelInferRequest* request);

// A number that is not finite, which JSON does not have, becomes null.
std::string ToJson(const inference::ModelInferResponse& response);
std::string ToJson(const inference::ModelMetadataResponse& response);
std::string ToJson(const inference::ServerMetadataResponse& response);
// {"error": message}
std::string ErrorToJson(absl::string_view message);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_CONVERT_INFERENCE_JSON_H_
