// The body of an infer request over HTTP. What is answered must be JSON, whatever was asked.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "inference/inference_service.pb.h"
#include "server/convert/inference.h"
#include "server/convert/inference_json.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {
namespace {

// An answer that says back what was asked.
inference::ModelInferResponse Echo(const inference::ModelInferRequest& request, ConstMatrixView x) {
  inference::ModelInferResponse response;
  response.set_id(request.id());
  response.set_model_name(request.outputs_size() > 0 ? request.outputs(0).name() : "");
  const MatrixView y =
      AddInferOutput(InferOutput::kPredictions, x.rows(), x.cols(), false, &response);
  std::copy_n(x.data(), x.size(), y.data());
  return response;
}

}  // namespace

FUZZ(bytes) {
  inference::ModelInferRequest request;
  const absl::Status read = FromJson(bytes, &request);
  if (!Accepted(read)) {
    Require(nlohmann::json::accept(ErrorToJson(read.message())), "an error is JSON");
    return;
  }
  Accepted(ToInferSettings(request));
  const auto input = ToInferInput(request, kRequestLimits);
  if (!Accepted(input)) return;
  RequireFinite(input->x);
  const auto answer = nlohmann::json::parse(ToJson(Echo(request, input->x)));
  const nlohmann::json& data = answer["outputs"][0]["data"];
  Require(data.size() == static_cast<size_t>(input->x.size()), "a number for each");
  for (size_t i = 0; i < data.size(); ++i) {
    Require(data[i].get<float>() == input->x.data()[i], "a number is read back as it was");
  }
}

}  // namespace lazynorm::fuzz
