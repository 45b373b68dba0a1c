#ifndef LAZYNORM_MODEL_STATUS_MACROS_H_
#define LAZYNORM_MODEL_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function if `expr`, an absl::Status, is not OK.
#define RETURN_IF_ERROR(expr)                                         \
  do {                                                                \
    if (absl::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

// Declares or assigns `lhs` from `expr`, an absl::StatusOr, or returns its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  LAZYNORM_ASSIGN_OR_RETURN_(LAZYNORM_CONCAT_(statusor_, __LINE__), lhs, expr)

#define LAZYNORM_ASSIGN_OR_RETURN_(value, lhs, expr) \
  auto value = (expr);                               \
  if (!value.ok()) return std::move(value).status(); \
  lhs = *std::move(value)
#define LAZYNORM_CONCAT_(a, b) LAZYNORM_CONCAT_AGAIN_(a, b)
#define LAZYNORM_CONCAT_AGAIN_(a, b) a##b

#endif  // LAZYNORM_MODEL_STATUS_MACROS_H_
