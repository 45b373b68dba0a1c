#ifndef LAZYNORM_MODEL_REMEMBERED_H_
#define LAZYNORM_MODEL_REMEMBERED_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/command.h"
#include "model/matrix.h"

namespace lazynorm {

// Rows that were predicted, with the predictions they were given: one of each an id.
struct Recalled {
  ConstMatrixView features;     // [ids, in_features]
  ConstMatrixView predictions;  // [ids, out_features]
};

// Memory for Recall, which only grows.
struct RecallBuffer {
  Buffer<float> features, predictions;
};

// Predictions that wait for their labels, by id. What is kept depends on the calls and the times
// given alone. The oldest goes first: beyond a number of rows, beyond a number of bytes, and when
// its time is over. A value: a copy holds the same rows. Thread-compatible.
//
// A row costs about 4 (in_features + out_features) + 2 id + kRowBytes bytes, and is counted so:
// 100,000 rows of 10 features, one output and ids of 20 bytes are 34 MB.
class RememberedPredictions {
 public:
  // What a row takes beside its numbers and twice its id, on 64 bits.
  static constexpr int64_t kRowBytes = 256;

  struct Row {
    std::string id;
    int64_t expires = 0;  // microseconds since the epoch; from then on the row is unknown
    std::vector<float> features, prediction;

    int64_t bytes() const;

    template <class Self, class Archive>
    static void Visit(Self& self, Archive& archive) {
      archive(self.id, self.expires, self.features, self.prediction);
    }
  };

  // Takes in all rows of the command; then forgets the oldest until its bounds hold. An id known
  // already is remembered anew, as the youngest. LIMIT_EXCEEDED if the command's own rows are more
  // than its bounds allow, and nothing changes.
  absl::Status Remember(const RememberCommand& command);

  // The rows of these ids, in their order, copied into `buffer`. UNKNOWN_PREDICTION_ID names those
  // not known, or not at the time `now` any more; WIDTH_MISMATCH where rows differ in width.
  absl::StatusOr<Recalled> Recall(absl::Span<const absl::string_view> ids, int64_t now,
                                  RecallBuffer& buffer) const;

  // Appends a row as the youngest.
  void Insert(Row row);
  void Forget(absl::string_view id);
  // Forgets the oldest while their time is over.
  void Expire(int64_t now);

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  int64_t bytes() const { return bytes_; }

  // Calls `use` with each row, the oldest first.
  template <class Use>
  void ForEach(const Use& use) const {
    for (const auto& [place, row] : rows_) use(row);
  }

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    std::vector<Row> rows;
    if constexpr (Archive::kReading) {
      archive(rows);
      for (Row& row : rows) self.Insert(std::move(row));
    } else {
      for (const auto& [place, row] : self.rows_) rows.push_back(row);
      archive(rows);
    }
  }

 private:
  void ForgetOldest();

  std::map<int64_t, Row> rows_;  // by a number that rises
  absl::flat_hash_map<std::string, int64_t> places_;
  int64_t next_place_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_REMEMBERED_H_
