#include "model/remembered.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

int64_t BytesOf(size_t id, int64_t numbers) {
  return 4 * numbers + 2 * static_cast<int64_t>(id) + RememberedPredictions::kRowBytes;
}

absl::Status CheckFits(const RememberCommand& command) {
  const auto rows = static_cast<int64_t>(command.ids.size());
  if (rows > command.max_rows) {
    return LimitExceeded("prediction_ids",
                         absl::StrCat("expected at most ", command.max_rows,
                                      " rows, as many as a model remembers, got ", rows));
  }
  int64_t bytes = 0;
  for (absl::string_view id : command.ids) {
    bytes += BytesOf(id.size(), command.features.cols() + command.predictions.cols());
  }
  if (bytes <= command.max_bytes) return absl::OkStatus();
  return LimitExceeded("prediction_ids",
                       absl::StrCat("expected at most ", command.max_bytes,
                                    " bytes, as many as a model remembers, got ", bytes));
}

}  // namespace

int64_t RememberedPredictions::Row::bytes() const {
  return BytesOf(id.size(), static_cast<int64_t>(features.size() + prediction.size()));
}

absl::Status RememberedPredictions::Remember(const RememberCommand& command) {
  RETURN_IF_ERROR(CheckFits(command));
  Expire(command.now);
  const int64_t in = command.features.cols(), out = command.predictions.cols();
  for (size_t i = 0; i < command.ids.size(); ++i) {
    const float* x = command.features.row(static_cast<int64_t>(i));
    const float* y = command.predictions.row(static_cast<int64_t>(i));
    Insert({std::string(command.ids[i]), command.expires, {x, x + in}, {y, y + out}});
  }
  while (size() > command.max_rows || bytes_ > command.max_bytes) ForgetOldest();
  return absl::OkStatus();
}

absl::StatusOr<Recalled> RememberedPredictions::Recall(absl::Span<const absl::string_view> ids,
                                                       int64_t now, RecallBuffer& buffer) const {
  std::vector<absl::string_view> unknown;
  std::vector<const Row*> found;
  for (absl::string_view id : ids) {
    const auto place = places_.find(id);
    const Row* row = place == places_.end() ? nullptr : &rows_.find(place->second)->second;
    if (row != nullptr && row->expires > now) {
      found.push_back(row);
    } else {
      unknown.push_back(id);
    }
  }
  if (!unknown.empty()) return UnknownPredictionIds(unknown);
  if (found.empty()) return Recalled();
  const auto n = static_cast<int64_t>(found.size());
  const auto in = static_cast<int64_t>(found[0]->features.size());
  const auto out = static_cast<int64_t>(found[0]->prediction.size());
  float* x = buffer.features.Reserve(n * in);
  float* y = buffer.predictions.Reserve(n * out);
  for (int64_t i = 0; i < n; ++i) {
    // Possible when they were remembered before a lazy model took another width.
    if (std::ssize(found[i]->features) != in || std::ssize(found[i]->prediction) != out) {
      return WidthMismatch(static_cast<int>(in), static_cast<int>(found[i]->features.size()));
    }
    std::copy_n(found[i]->features.data(), in, x + i * in);
    std::copy_n(found[i]->prediction.data(), out, y + i * out);
  }
  return Recalled{{x, n, in}, {y, n, out}};
}

void RememberedPredictions::Insert(Row row) {
  Forget(row.id);
  bytes_ += row.bytes();
  places_.emplace(row.id, next_place_);
  rows_.emplace_hint(rows_.end(), next_place_++, std::move(row));
}

void RememberedPredictions::Forget(absl::string_view id) {
  const auto place = places_.find(id);
  if (place == places_.end()) return;
  const auto row = rows_.find(place->second);
  bytes_ -= row->second.bytes();
  rows_.erase(row);
  places_.erase(place);
}

void RememberedPredictions::ForgetOldest() {
  const auto oldest = rows_.begin();
  bytes_ -= oldest->second.bytes();
  places_.erase(oldest->second.id);
  rows_.erase(oldest);
}

void RememberedPredictions::Expire(int64_t now) {
  while (!rows_.empty() && rows_.begin()->second.expires <= now) ForgetOldest();
}

}  // namespace lazynorm
