#ifndef LAZYNORM_SERVER_CONVERT_API_H_
#define LAZYNORM_SERVER_CONVERT_API_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "lazynorm/v1/prediction_service.pb.h"
#include "lazynorm/v1/tensor.pb.h"
#include "lazynorm/v1/training_service.pb.h"
#include "model/batch.h"
#include "model/command.h"
#include "model/evaluate.h"
#include "model/matrix.h"
#include "model/network.h"

namespace lazynorm {

// Between messages and the model's own types. What comes from outside is checked here, once, for
// all that can be known without the model: shapes, finiteness, limits. Nothing is copied: views
// look into the message, which must outlive them.

struct RequestLimits {
  int max_rows = 65536;
  int max_width = 16384;
};

// INVALID_MODEL_ID unless `id` matches [a-z]([a-z0-9-]{0,61}[a-z0-9])?
absl::Status CheckModelId(absl::string_view id);

// SHAPE_MISMATCH, EMPTY_BATCH, LIMIT_EXCEEDED or NON_FINITE_VALUE, naming the field below `field`.
absl::StatusOr<ConstMatrixView> ToMatrix(const v1::Matrix& proto, absl::string_view field,
                                         const RequestLimits& limits);

// Ids for rows, or of them: one a row, each of 1 to 128 bytes (LIMIT_EXCEEDED) and there once
// (SHAPE_MISMATCH), naming prediction_ids or one of them. None at all are none asked for.
absl::StatusOr<std::vector<absl::string_view>> ToPredictionIds(
    const google::protobuf::RepeatedPtrField<std::string>& ids, int64_t rows);

// Features and targets of a request, checked alike. SHAPE_MISMATCH for a Train that has both
// features and prediction_ids.
absl::StatusOr<TrainCommand> ToCommand(const v1::TrainRequest& proto, const RequestLimits& limits);
absl::StatusOr<Batch> ToBatch(const v1::EvaluateRequest& proto, const RequestLimits& limits);
// The same request, naming no model. A command's `now` is not part of it.
void ToProto(const TrainCommand& command, v1::TrainRequest* proto);
void ToProto(ConstMatrixView matrix, v1::Matrix* proto);

std::vector<StateTensor> FromProto(
    const google::protobuf::RepeatedPtrField<v1::NamedTensor>& proto);
void ToProto(const std::vector<StateTensor>& tensors,
             google::protobuf::RepeatedPtrField<v1::NamedTensor>* proto);

void ToProto(const StepResult& result, v1::TrainResponse* proto);
void ToProto(const Scores& scores, int64_t step, v1::EvaluateResponse* proto);

// A place for [rows, columns] inside the message.
MatrixView MutableMatrix(int64_t rows, int64_t columns, v1::Matrix* proto);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_CONVERT_API_H_
