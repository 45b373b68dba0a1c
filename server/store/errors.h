#ifndef LAZYNORM_SERVER_STORE_ERRORS_H_
#define LAZYNORM_SERVER_STORE_ERRORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/store/record.h"

namespace lazynorm {

// The store's errors. Each carries its reason as model/errors.h does (same payload), though this
// room does not know that one.

// RESOURCE_EXHAUSTED, STORE_FULL: no space; nothing of it was kept. The store goes on.
absl::Status StoreFull(absl::string_view message);
// UNAVAILABLE, STORE_FAILED: the store can promise nothing any more.
absl::Status StoreFailed(absl::string_view message);
// Whether `status` is one that only a new start can mend.
bool IsStoreFailed(const absl::Status& status);
// DATA_LOSS, MODEL_DAMAGED: what is kept is not what was written.
absl::Status ModelDamaged(absl::string_view message);
// FAILED_PRECONDITION, STORE_FAILED: this database or this directory cannot be used.
absl::Status StoreRefused(absl::string_view message);
// NOT_FOUND, MODEL_NOT_FOUND.
absl::Status NoSuchModel(absl::string_view model);
// NOT_FOUND, CHECKPOINT_NOT_FOUND.
absl::Status NoSuchCheckpoint(absl::string_view model, absl::string_view id);
// OUT_OF_RANGE, STEP_NOT_KEPT: the model has not come to that step, or the journal does not reach
// back to it. `newest` is the last step it has stood at.
absl::Status NoSuchStep(absl::string_view model, int64_t step, int64_t newest);
// ALREADY_EXISTS, MODEL_EXISTS.
absl::Status ModelExists(absl::string_view model);
// UNAVAILABLE, STORE_FAILED: this replica has lost its database, and is coming back.
absl::Status CutOff();
// FAILED_PRECONDITION, NOT_HOLDER: another replica writes that model.
absl::Status NotHolder(absl::string_view model);
// RESOURCE_EXHAUSTED, LIMIT_EXCEEDED.
absl::Status RecordTooLarge(int64_t bytes, int64_t most);
// OK, or RecordTooLarge for the first that is.
absl::Status CheckSizes(const std::vector<Record>& records, int64_t most);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_ERRORS_H_
