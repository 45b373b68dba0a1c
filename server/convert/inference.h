#ifndef LAZYNORM_SERVER_CONVERT_INFERENCE_H_
#define LAZYNORM_SERVER_CONVERT_INFERENCE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "inference/inference_service.pb.h"
#include "model/matrix.h"
#include "model/spec.h"
#include "server/convert/api.h"

namespace lazynorm {

// Between the Open Inference Protocol's messages and matrices. What is refused is INVALID_ARGUMENT
// and names the field below the request.

// Of every model.
inline constexpr char kInferPlatform[] = "lazynorm_mlp";
inline constexpr char kInferInput[] = "features";

// The rows of a request. `x` looks into the request, which must outlive it, or into `converted`
// where the numbers are not float32 there. Movable.
struct InferInput {
  ConstMatrixView x;
  Matrix converted;
};

// SHAPE_MISMATCH for anything but one tensor "features" of numbers, of rank 2, whose data are where
// and as many as they should be; EMPTY_BATCH, LIMIT_EXCEEDED, NON_FINITE_VALUE.
absl::StatusOr<InferInput> ToInferInput(const inference::ModelInferRequest& request,
                                        const RequestLimits& limits);

// What a caller can ask for beside the numbers.
struct InferSettings {
  int64_t min_step = 0;
  absl::Duration timeout = absl::InfiniteDuration();
};
// SHAPE_MISMATCH if one of them is not an int64_param. Other parameters are ignored.
absl::StatusOr<InferSettings> ToInferSettings(const inference::ModelInferRequest& request);

enum class InferOutput { kPredictions, kProbabilities };
const char* NameOf(InferOutput output);
// All that a model with this loss has.
std::vector<InferOutput> InferOutputsOf(LossKind loss);
// Those that are asked for, in that order; all if none is. TARGET_MISMATCH for one that the model
// does not have, or that is asked for twice.
absl::StatusOr<std::vector<InferOutput>> ToInferOutputs(const inference::ModelInferRequest& request,
                                                        LossKind loss);

// Adds a float32 tensor and returns the place of its numbers inside the message: all of them raw,
// or all typed.
MatrixView AddInferOutput(InferOutput output, int64_t rows, int64_t columns, bool raw,
                          inference::ModelInferResponse* response);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_CONVERT_INFERENCE_H_
