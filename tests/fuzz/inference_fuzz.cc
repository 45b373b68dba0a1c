// An infer request of the Open Inference Protocol, typed or raw, as it is predicted and answered.
#include <string>

#include "inference/inference_service.pb.h"
#include "model/learner.h"
#include "server/convert/inference.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {

FUZZ(bytes) {
  inference::ModelInferRequest request;
  if (!Read(bytes, &request)) return;
  Accepted(ToInferSettings(request));
  const auto outputs = ToInferOutputs(request, LossKind::kBceWithLogits);
  const auto input = ToInferInput(request, kRequestLimits);
  if (!Accepted(input) || !Accepted(outputs)) return;
  RequireFinite(input->x);
  const auto& shape = request.inputs(0).shape();
  Require(input->x.rows() == shape[0] && input->x.cols() == shape[1], "the shape is as declared");

  const auto learner = Learner::Create({.layers = {LinearSpec{.out_features = 2}},
                                        .loss = {.kind = LossKind::kBceWithLogits},
                                        .in_features = static_cast<int>(input->x.cols())},
                                       kLimits);
  const auto plan = (*learner)->MakePlan();
  inference::ModelInferResponse response;
  for (const InferOutput output : *outputs) {
    for (const bool raw : {false, true}) {
      plan->Predict(input->x, AddInferOutput(output, input->x.rows(), 2, raw, &response));
    }
  }
  Require(response.outputs_size() == 2 * static_cast<int>(outputs->size()), "what is asked for");
}

}  // namespace lazynorm::fuzz
