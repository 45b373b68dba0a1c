#include "server/convert/api.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/kernels.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

constexpr int kMaxRequestId = 128;
constexpr int kMaxPredictionId = 128;

absl::Status CheckFinite(const google::protobuf::RepeatedField<float>& values,
                         const std::string& field) {
  if (ActiveKernels().all_finite(values.data(), values.size())) return absl::OkStatus();
  int i = 0;
  while (std::isfinite(values[i])) ++i;
  return NonFiniteValue(field, i, values[i]);
}

// Targets, which a request may do without.
absl::StatusOr<ConstMatrixView> ToTargets(const v1::Matrix& proto, const RequestLimits& limits) {
  if (proto.rows() == 0 && proto.values_size() == 0) return ConstMatrixView(nullptr, 0, 0);
  return ToMatrix(proto, "targets", limits);
}

template <class Request>
absl::StatusOr<Batch> WithTargets(ConstMatrixView features, const Request& proto,
                                  const RequestLimits& limits) {
  ASSIGN_OR_RETURN(const ConstMatrixView targets, ToTargets(proto.targets(), limits));
  return Batch{.features = features,
               .targets = targets,
               .labels = absl::MakeConstSpan(proto.labels().data(), proto.labels_size()),
               .sample_weights =
                   absl::MakeConstSpan(proto.sample_weights().data(), proto.sample_weights_size())};
}

// Features, targets, labels and weights of a request that has them.
template <class Request>
absl::StatusOr<Batch> Convert(const Request& proto, const RequestLimits& limits) {
  ASSIGN_OR_RETURN(const ConstMatrixView features, ToMatrix(proto.features(), "features", limits));
  return WithTargets(features, proto, limits);
}

// A Train of remembered rows: the batch lacks its features, until the model finds them.
absl::StatusOr<Batch> ConvertRemembered(const v1::TrainRequest& proto,
                                        const RequestLimits& limits) {
  const v1::Matrix& features = proto.features();
  if (features.rows() != 0 || features.columns() != 0 || features.values_size() != 0) {
    return ShapeMismatch("features", "none beside prediction_ids, which stand for them",
                         absl::StrCat(features.rows(), " rows"));
  }
  if (proto.prediction_ids_size() > limits.max_rows) {
    return LimitExceeded("prediction_ids", absl::StrCat("expected at most ", limits.max_rows,
                                                        ", got ", proto.prediction_ids_size()));
  }
  return WithTargets({}, proto, limits);
}

}  // namespace

absl::Status CheckModelId(absl::string_view id) {
  const auto word = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); };
  bool good = !id.empty() && id.size() <= 63 && absl::ascii_islower(id.front()) && word(id.back());
  for (char c : id) good = good && (word(c) || c == '-');
  if (good) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_ID", "model_id",
                   absl::StrCat("expected 1 to 63 lower case letters, digits and hyphens, a letter "
                                "first and no hyphen last, got \"",
                                id.substr(0, 80), "\""));
}

absl::StatusOr<ConstMatrixView> ToMatrix(const v1::Matrix& proto, absl::string_view field,
                                         const RequestLimits& limits) {
  const int64_t rows = proto.rows(), columns = proto.columns();
  if (rows < 0 || columns < 0 || rows * columns != proto.values_size()) {
    return ShapeMismatch(absl::StrCat(field, ".values"),
                         absl::StrCat(rows, " x ", columns, " = rows x columns numbers"),
                         absl::StrCat(proto.values_size()));
  }
  if (rows == 0) return EmptyBatch();
  if (rows > limits.max_rows) {
    return LimitExceeded(absl::StrCat(field, ".rows"),
                         absl::StrCat("expected at most ", limits.max_rows, ", got ", rows));
  }
  if (columns == 0 || columns > limits.max_width) {
    const std::string at = absl::StrCat(field, ".columns");
    if (columns == 0) return ShapeMismatch(at, "at least 1", "0");
    return LimitExceeded(at,
                         absl::StrCat("expected at most ", limits.max_width, ", got ", columns));
  }
  RETURN_IF_ERROR(CheckFinite(proto.values(), absl::StrCat(field, ".values")));
  return ConstMatrixView(proto.values().data(), rows, columns);
}

absl::StatusOr<std::vector<absl::string_view>> ToPredictionIds(
    const google::protobuf::RepeatedPtrField<std::string>& ids, int64_t rows) {
  std::vector<absl::string_view> views;
  if (ids.empty()) return views;
  if (ids.size() != rows) {
    return ShapeMismatch("prediction_ids", absl::StrCat(rows, ", one a row"),
                         absl::StrCat(ids.size()));
  }
  views.reserve(rows);
  absl::flat_hash_set<absl::string_view> seen;
  seen.reserve(rows);
  for (int i = 0; i < ids.size(); ++i) {
    const std::string& id = ids[i];
    if (id.empty() || id.size() > kMaxPredictionId) {
      return LimitExceeded(
          absl::StrCat("prediction_ids[", i, "]"),
          absl::StrCat("expected 1 to ", kMaxPredictionId, " bytes, got ", id.size()));
    }
    if (!seen.insert(id).second) {
      return ShapeMismatch(absl::StrCat("prediction_ids[", i, "]"), "each id once",
                           absl::StrCat("\"", id, "\" again"));
    }
    views.push_back(id);
  }
  return views;
}

absl::StatusOr<TrainCommand> ToCommand(const v1::TrainRequest& proto, const RequestLimits& limits) {
  if (proto.request_id().size() > kMaxRequestId) {
    return LimitExceeded("request_id", absl::StrCat("expected at most ", kMaxRequestId,
                                                    " bytes, got ", proto.request_id().size()));
  }
  if (!v1::StatisticsMode_IsValid(proto.statistics())) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_UPDATE", "statistics",
                     absl::StrCat("expected UPDATE or FREEZE, got ", proto.statistics()));
  }
  const bool remembered = proto.prediction_ids_size() > 0;
  ASSIGN_OR_RETURN(const Batch batch,
                   remembered ? ConvertRemembered(proto, limits) : Convert(proto, limits));
  ASSIGN_OR_RETURN(std::vector<absl::string_view> ids,
                   ToPredictionIds(proto.prediction_ids(), proto.prediction_ids_size()));
  return TrainCommand{.batch = batch,
                      .request_id = proto.request_id(),
                      .freeze_statistics = proto.statistics() == v1::STATISTICS_MODE_FREEZE,
                      .prediction_ids = std::move(ids)};
}

void ToProto(ConstMatrixView matrix, v1::Matrix* proto) {
  if (matrix.size() == 0) return;
  MatrixView out = MutableMatrix(matrix.rows(), matrix.cols(), proto);
  std::copy_n(matrix.data(), matrix.size(), out.data());
}

void ToProto(const TrainCommand& command, v1::TrainRequest* proto) {
  const Batch& batch = command.batch;
  ToProto(batch.features, proto->mutable_features());
  ToProto(batch.targets, proto->mutable_targets());
  proto->mutable_labels()->Assign(batch.labels.begin(), batch.labels.end());
  proto->mutable_sample_weights()->Assign(batch.sample_weights.begin(), batch.sample_weights.end());
  proto->set_request_id(std::string(command.request_id));
  if (command.freeze_statistics) proto->set_statistics(v1::STATISTICS_MODE_FREEZE);
  for (absl::string_view id : command.prediction_ids) {
    proto->add_prediction_ids(std::string(id));
  }
}

absl::StatusOr<Batch> ToBatch(const v1::EvaluateRequest& proto, const RequestLimits& limits) {
  return Convert(proto, limits);
}

std::vector<StateTensor> FromProto(
    const google::protobuf::RepeatedPtrField<v1::NamedTensor>& proto) {
  std::vector<StateTensor> tensors;
  for (const v1::NamedTensor& tensor : proto) {
    tensors.push_back({tensor.name(),
                       {tensor.shape().begin(), tensor.shape().end()},
                       {tensor.values().begin(), tensor.values().end()},
                       {tensor.int64_values().begin(), tensor.int64_values().end()}});
  }
  return tensors;
}

void ToProto(const std::vector<StateTensor>& tensors,
             google::protobuf::RepeatedPtrField<v1::NamedTensor>* proto) {
  for (const StateTensor& tensor : tensors) {
    v1::NamedTensor* out = proto->Add();
    out->set_name(tensor.name);
    out->mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    out->mutable_values()->Assign(tensor.values.begin(), tensor.values.end());
    out->mutable_int64_values()->Assign(tensor.int64_values.begin(), tensor.int64_values.end());
  }
}

void ToProto(const StepResult& result, v1::TrainResponse* proto) {
  proto->set_step(result.step);
  proto->set_loss(result.loss);
  proto->set_prequential_loss(result.prequential_loss);
  proto->set_replayed(result.replayed);
  proto->set_gradient_norm(result.gradient_norm);
  proto->set_drift(result.drift);
}

void ToProto(const Scores& scores, int64_t step, v1::EvaluateResponse* proto) {
  proto->set_rows(scores.rows);
  proto->set_step(step);
  proto->set_loss(scores.loss);
  if (scores.mean_absolute_error) proto->set_mean_absolute_error(*scores.mean_absolute_error);
  if (scores.root_mean_squared_error) {
    proto->set_root_mean_squared_error(*scores.root_mean_squared_error);
  }
  if (scores.r2) proto->set_r2(*scores.r2);
  if (scores.accuracy) proto->set_accuracy(*scores.accuracy);
  if (scores.log_loss) proto->set_log_loss(*scores.log_loss);
  if (scores.roc_auc) proto->set_roc_auc(*scores.roc_auc);
}

MatrixView MutableMatrix(int64_t rows, int64_t columns, v1::Matrix* proto) {
  proto->set_rows(static_cast<int>(rows));
  proto->set_columns(static_cast<int>(columns));
  proto->mutable_values()->Resize(static_cast<int>(rows * columns), 0.0f);
  return MatrixView(proto->mutable_values()->mutable_data(), rows, columns);
}

}  // namespace lazynorm
