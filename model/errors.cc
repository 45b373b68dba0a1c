#include "model/errors.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace lazynorm {
namespace {

absl::Status Invalid(absl::string_view reason, absl::string_view field, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, field, message);
}

std::string Payload(const absl::Status& status, absl::string_view url) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view field,
                       absl::string_view message) {
  absl::Status status(code,
                      field.empty() ? std::string(message) : absl::StrCat(field, ": ", message));
  status.SetPayload(kReasonUrl, absl::Cord(reason));
  if (!field.empty()) status.SetPayload(kFieldUrl, absl::Cord(field));
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  return Payload(status, kReasonUrl);
}

std::string FieldOf(const absl::Status& status) {
  return Payload(status, kFieldUrl);
}

absl::Status WidthMismatch(int expected_columns, int got_columns) {
  return Invalid("WIDTH_MISMATCH", "features",
                 absl::StrCat("expected ", expected_columns, " columns, got ", got_columns));
}

absl::Status ShapeMismatch(absl::string_view field, absl::string_view expected,
                           absl::string_view got) {
  return Invalid("SHAPE_MISMATCH", field, absl::StrCat("expected ", expected, ", got ", got));
}

absl::Status NonFiniteValue(absl::string_view field, int64_t index, float value) {
  return Invalid("NON_FINITE_VALUE", absl::StrCat(field, "[", index, "]"),
                 absl::StrCat("expected a finite number, got ", value));
}

absl::Status EmptyBatch() {
  return Invalid("EMPTY_BATCH", "features", "expected at least one row, got none");
}

absl::Status TooFewRows(int layer) {
  return Invalid("TOO_FEW_ROWS", "features",
                 absl::StrCat("expected at least 2 rows, got 1: layer ", layer,
                              " normalises with the statistics of the batch"));
}

absl::Status LabelOutOfRange(int64_t index, int label, int classes) {
  return Invalid("LABEL_OUT_OF_RANGE", absl::StrCat("labels[", index, "]"),
                 absl::StrCat("expected 0 to ", classes - 1, ", got ", label));
}

absl::Status TargetMismatch(absl::string_view field, absl::string_view expected,
                            absl::string_view got) {
  return Invalid("TARGET_MISMATCH", field, absl::StrCat("expected ", expected, ", got ", got));
}

absl::Status InvalidWeights(absl::string_view field, absl::string_view message) {
  return Invalid("INVALID_WEIGHTS", field, message);
}

absl::Status InvalidSpec(absl::string_view field, absl::string_view message) {
  return Invalid("INVALID_SPEC", field, message);
}

absl::Status InvalidState(absl::string_view field, absl::string_view message) {
  return Invalid("INVALID_STATE", field, message);
}

absl::Status InvalidUpdate(absl::string_view field, absl::string_view message) {
  return Invalid("INVALID_UPDATE", field, message);
}

absl::Status LimitExceeded(absl::string_view field, absl::string_view message) {
  return Invalid("LIMIT_EXCEEDED", field, message);
}

absl::Status RequestIdReused() {
  return Invalid("REQUEST_ID_REUSED", "request_id",
                 "expected the payload it was first sent with, got another one");
}

absl::Status UnknownPredictionIds(absl::Span<const absl::string_view> ids) {
  constexpr size_t kNamed = 5;
  std::string names;
  for (absl::string_view id : ids.first(std::min(ids.size(), kNamed))) {
    absl::StrAppend(&names, names.empty() ? "\"" : ", \"", id, "\"");
  }
  if (ids.size() > kNamed) absl::StrAppend(&names, " and ", ids.size() - kNamed, " more");
  return MakeError(absl::StatusCode::kNotFound, "UNKNOWN_PREDICTION_ID", "",
                   absl::StrCat("prediction_ids: unknown, expired or trained already: ", names));
}

absl::Status NonFiniteStep(absl::string_view what) {
  return MakeError(
      absl::StatusCode::kAborted, "NON_FINITE_STEP", "",
      absl::StrCat("the step was refused and nothing changed: ", what, " would not be finite"));
}

}  // namespace lazynorm
