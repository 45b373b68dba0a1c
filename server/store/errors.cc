#include "server/store/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace lazynorm {
namespace {

constexpr char kReasonUrl[] = "lazynorm/reason";

absl::Status Error(absl::StatusCode code, absl::string_view reason, absl::string_view message) {
  absl::Status status(code, message);
  status.SetPayload(kReasonUrl, absl::Cord(reason));
  return status;
}

}  // namespace

absl::Status StoreFull(absl::string_view message) {
  return Error(absl::StatusCode::kResourceExhausted, "STORE_FULL", message);
}

absl::Status StoreFailed(absl::string_view message) {
  return Error(absl::StatusCode::kUnavailable, "STORE_FAILED", message);
}

bool IsStoreFailed(const absl::Status& status) {
  return absl::IsUnavailable(status) && status.GetPayload(kReasonUrl) == absl::Cord("STORE_FAILED");
}

absl::Status ModelDamaged(absl::string_view message) {
  return Error(absl::StatusCode::kDataLoss, "MODEL_DAMAGED", message);
}

absl::Status StoreRefused(absl::string_view message) {
  return Error(absl::StatusCode::kFailedPrecondition, "STORE_FAILED", message);
}

absl::Status NoSuchModel(absl::string_view model) {
  return Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
               absl::StrCat("the store has no model \"", model, "\""));
}

absl::Status NoSuchCheckpoint(absl::string_view model, absl::string_view id) {
  return Error(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND",
               absl::StrCat("model \"", model, "\" has no checkpoint \"", id, "\""));
}

absl::Status NoSuchStep(absl::string_view model, int64_t step, int64_t newest) {
  const std::string why = step > newest ? absl::StrCat("it has only come to ", newest)
                                        : "the journal no longer reaches back to it";
  return Error(absl::StatusCode::kOutOfRange, "STEP_NOT_KEPT",
               absl::StrCat("step ", step, " of model \"", model, "\": ", why));
}

absl::Status ModelExists(absl::string_view model) {
  return Error(absl::StatusCode::kAlreadyExists, "MODEL_EXISTS",
               absl::StrCat("the store already has a model \"", model, "\""));
}

absl::Status CutOff() {
  return StoreFailed("this replica is cut off from the database and is trying to return");
}

absl::Status NotHolder(absl::string_view model) {
  return Error(absl::StatusCode::kFailedPrecondition, "NOT_HOLDER",
               absl::StrCat("another replica holds model \"", model, "\""));
}

absl::Status RecordTooLarge(int64_t bytes, int64_t most) {
  return Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
               absl::StrCat("a record: expected at most ", most, " bytes, got ", bytes));
}

absl::Status CheckSizes(const std::vector<Record>& records, int64_t most) {
  for (const Record& record : records) {
    const auto bytes = static_cast<int64_t>(record.payload.size() + record.request_id.size());
    if (bytes > most) return RecordTooLarge(bytes, most);
  }
  return absl::OkStatus();
}

}  // namespace lazynorm
