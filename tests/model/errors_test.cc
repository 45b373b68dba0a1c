#include "model/errors.h"

#include <gtest/gtest.h>

#include <string>

#include "model/status_macros.h"
#include "tests/model/testing.h"

namespace lazynorm {
namespace {

TEST(ErrorsTest, AnErrorCarriesItsReasonItsFieldAndWhatWasExpected) {
  const absl::Status status = WidthMismatch(8, 7);
  ExpectRefused(status, "WIDTH_MISMATCH", "features");
  EXPECT_EQ(status.message(), "features: expected 8 columns, got 7");
}

TEST(ErrorsTest, EveryErrorHasItsOwnReason) {
  ExpectRefused(ShapeMismatch("targets", "3 x 1", "3 x 2"), "SHAPE_MISMATCH", "targets");
  ExpectRefused(NonFiniteValue("features.values", 3, 0), "NON_FINITE_VALUE", "features.values[3]");
  ExpectRefused(EmptyBatch(), "EMPTY_BATCH", "features");
  ExpectRefused(TooFewRows(2), "TOO_FEW_ROWS", "features");
  ExpectRefused(LabelOutOfRange(4, 9, 3), "LABEL_OUT_OF_RANGE", "labels[4]");
  ExpectRefused(TargetMismatch("labels", "a", "b"), "TARGET_MISMATCH", "labels");
  ExpectRefused(InvalidWeights("sample_weights", "a"), "INVALID_WEIGHTS", "sample_weights");
  ExpectRefused(InvalidSpec("spec", "a"), "INVALID_SPEC", "spec");
  ExpectRefused(InvalidState("initial_state", "a"), "INVALID_STATE", "initial_state");
  ExpectRefused(InvalidUpdate("learning_rate", "a"), "INVALID_UPDATE", "learning_rate");
  ExpectRefused(LimitExceeded("features", "a"), "LIMIT_EXCEEDED", "features");
  ExpectRefused(RequestIdReused(), "REQUEST_ID_REUSED", "request_id");
}

TEST(ErrorsTest, ANonFiniteStepIsAbortedAndHasNoField) {
  const absl::Status status = NonFiniteStep("the loss");
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(status), "NON_FINITE_STEP");
  EXPECT_EQ(FieldOf(status), "");
  EXPECT_NE(std::string(status.message()).find("the loss"), std::string::npos);
}

TEST(ErrorsTest, AStatusWithoutReasonHasNone) {
  EXPECT_EQ(ReasonOf(absl::InternalError("a")), "");
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "");
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return EmptyBatch();
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(StatusMacrosTest, PassValuesOnAndErrorsUp) {
  EXPECT_EQ(*Quarter(12), 3);
  ExpectRefused(Quarter(3).status(), "EMPTY_BATCH");
  ExpectRefused(Quarter(6).status(), "EMPTY_BATCH");
}

}  // namespace
}  // namespace lazynorm
