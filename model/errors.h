#ifndef LAZYNORM_MODEL_ERRORS_H_
#define LAZYNORM_MODEL_ERRORS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lazynorm {

// Every error is an absl::Status with a stable reason and, for INVALID_ARGUMENT, the path of the
// field at fault, both kept as payloads. A message is "field: expected this, got that".

// Payload URLs under which an error keeps its reason and its field.
inline constexpr char kReasonUrl[] = "lazynorm/reason";
inline constexpr char kFieldUrl[] = "lazynorm/field";

// An error of any code. `field` may be empty.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view field,
                       absl::string_view message);

// The reason of `status`, "" if it has none.
std::string ReasonOf(const absl::Status& status);
// The field of `status`, "" if it has none.
std::string FieldOf(const absl::Status& status);

// INVALID_ARGUMENT
absl::Status WidthMismatch(int expected_columns, int got_columns);
absl::Status ShapeMismatch(absl::string_view field, absl::string_view expected,
                           absl::string_view got);
absl::Status NonFiniteValue(absl::string_view field, int64_t index, float value);
absl::Status EmptyBatch();
absl::Status TooFewRows(int layer);
absl::Status LabelOutOfRange(int64_t index, int label, int classes);
absl::Status TargetMismatch(absl::string_view field, absl::string_view expected,
                            absl::string_view got);
absl::Status InvalidWeights(absl::string_view field, absl::string_view message);
absl::Status InvalidSpec(absl::string_view field, absl::string_view message);
absl::Status InvalidState(absl::string_view field, absl::string_view message);
absl::Status InvalidUpdate(absl::string_view field, absl::string_view message);
absl::Status LimitExceeded(absl::string_view field, absl::string_view message);
absl::Status RequestIdReused();

// NOT_FOUND, reason UNKNOWN_PREDICTION_ID: names the first few of the ids.
absl::Status UnknownPredictionIds(absl::Span<const absl::string_view> ids);

// ABORTED: the step was undone. `what` is the first thing that was not finite.
absl::Status NonFiniteStep(absl::string_view what);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_ERRORS_H_
