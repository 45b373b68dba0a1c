#ifndef LAZYNORM_SERVER_STORE_JOURNAL_TABLE_H_
#define LAZYNORM_SERVER_STORE_JOURNAL_TABLE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/payload_file.h"
#include "server/store/record.h"
#include "server/store/sqlite.h"

namespace lazynorm {

// The records that one write appends to a model.
struct ModelRows {
  int64_t model_id = 0;
  std::vector<JournalRow> rows;
};

// The tables `journal` and `large`, and the file of the large payloads. A payload goes into the
// file when it is large and a commit has enough of them to be worth a second sync: the database has
// its extent then. Whichever it was, a row's checksum covers the payload.
//
// Insert, Remove and Free belong to the committer thread, Take to the opening; the rest is
// thread-safe.
class JournalTable {
 public:
  // What to select from kFrom to have a row's payload: three columns.
  static constexpr char kFrom[] = "journal LEFT JOIN large USING(seq)";
  static constexpr char kPayload[] = "payload, large.place, large.bytes";

  // `payloads` null: there is no such file (a backup has none), a row that needs it is damaged.
  // Without `writes_large` the file is only read: syncing twice is of no use where nothing is
  // synced.
  JournalTable(std::unique_ptr<PayloadFile> payloads, bool writes_large)
      : payloads_(std::move(payloads)), writes_large_(writes_large) {}

  // Within a transaction. Should that fail, the rows are to be freed.
  absl::Status Insert(Database& db, const std::vector<const ModelRows*>& group);
  // Within a transaction. Once that is durable, the rows are to be freed.
  absl::Status Remove(Database& db, const std::vector<int64_t>& seqs) const;
  // Gives the room of their payloads back. Rows that have none there do not matter.
  void Free(const std::vector<int64_t>& seqs);

  // The payload of the row that `query` stands at, kPayload being its columns from `column` on.
  // `buffer` holds what came from the file. What cannot be there is empty: the checksum will tell.
  absl::StatusOr<absl::string_view> Payload(const Query& query, int column,
                                            std::string* buffer) const;
  // Says that a row which reads well is there, `query` standing at it.
  void Take(int64_t seq, const Query& query, int column);
  // Puts all payloads into `copy`, a copy of the database that was begun while `hold` lived.
  absl::Status Inline(Database& copy, const PayloadFile::Hold& hold) const;
  // Null if there is no file.
  std::unique_ptr<PayloadFile::Hold> HoldPayloads() const;

 private:
  absl::Status WriteLarge(Database& db, const std::vector<const ModelRows*>& group);

  const std::unique_ptr<PayloadFile> payloads_;
  const bool writes_large_;
  std::unordered_map<int64_t, Extent> extents_;  // by seq
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_JOURNAL_TABLE_H_
