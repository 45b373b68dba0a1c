#include "server/store/journal_table.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lazynorm {
namespace {

constexpr size_t kLargeBytes = size_t{16} << 10;
// Two syncs, or every byte twice: the file wins from about here on (tests/bench/store).
constexpr size_t kWorthASync = size_t{256} << 10;

bool IsLarge(const JournalRow& row) {
  return row.record.payload.size() >= kLargeBytes;
}

size_t LargeBytes(const std::vector<const ModelRows*>& group) {
  size_t bytes = 0;
  for (const ModelRows* model : group) {
    for (const JournalRow& row : model->rows) {
      if (IsLarge(row)) bytes += row.record.payload.size();
    }
  }
  return bytes;
}

absl::Status InsertRow(Query& insert, int64_t model_id, const JournalRow& row, bool large) {
  insert.Restart(row.at.seq, model_id, row.at.step, int64_t{row.record.kind},
                 absl::string_view(row.record.request_id), static_cast<int64_t>(row.at.chain),
                 static_cast<int64_t>(row.checksum),
                 large ? absl::string_view() : absl::string_view(row.record.payload));
  while (insert.Next()) continue;
  return insert.status();
}

}  // namespace

absl::Status JournalTable::WriteLarge(Database& db, const std::vector<const ModelRows*>& group) {
  for (const ModelRows* model : group) {
    for (const JournalRow& row : model->rows) {
      if (!IsLarge(row)) continue;
      const absl::StatusOr<Extent> extent = payloads_->Write(row.record.payload);
      if (!extent.ok()) return extent.status();
      extents_[row.at.seq] = *extent;
      absl::Status status =
          db.Run("INSERT INTO large VALUES(?, ?, ?)", row.at.seq, extent->offset, extent->bytes);
      if (!status.ok()) return status;
    }
  }
  return payloads_->Sync();  // before the commit that makes it count
}

absl::Status JournalTable::Insert(Database& db, const std::vector<const ModelRows*>& group) {
  const bool aside = payloads_ != nullptr && writes_large_ && LargeBytes(group) >= kWorthASync;
  absl::Status status = aside ? WriteLarge(db, group) : absl::OkStatus();
  Query insert(db, "INSERT INTO journal VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
  for (const ModelRows* model : group) {
    for (const JournalRow& row : model->rows) {
      if (status.ok()) status = InsertRow(insert, model->model_id, row, aside && IsLarge(row));
    }
  }
  return status;
}

absl::Status JournalTable::Remove(Database& db, const std::vector<int64_t>& seqs) const {
  absl::Status status;
  for (const int64_t seq : seqs) {
    if (status.ok()) status = db.Run("DELETE FROM journal WHERE seq = ?", seq);
    if (status.ok() && extents_.count(seq) > 0) {
      status = db.Run("DELETE FROM large WHERE seq = ?", seq);
    }
  }
  return status;
}

void JournalTable::Free(const std::vector<int64_t>& seqs) {
  if (extents_.empty()) return;
  for (const int64_t seq : seqs) {
    const auto extent = extents_.find(seq);
    if (extent == extents_.end()) continue;
    payloads_->Free(extent->second);
    extents_.erase(extent);
  }
}

absl::StatusOr<absl::string_view> JournalTable::Payload(const Query& query, int column,
                                                        std::string* buffer) const {
  const Extent extent = {query.Int(column + 1), query.Int(column + 2)};
  if (extent.bytes == 0) return query.Bytes(column);
  if (payloads_ == nullptr) return absl::string_view();
  absl::StatusOr<std::string> bytes = payloads_->Read(extent);
  if (!bytes.ok()) return bytes.status();
  *buffer = *std::move(bytes);
  return absl::string_view(*buffer);
}

void JournalTable::Take(int64_t seq, const Query& query, int column) {
  const Extent extent = {query.Int(column + 1), query.Int(column + 2)};
  if (extent.bytes > 0 && payloads_->Take(extent)) extents_[seq] = extent;
}

std::unique_ptr<PayloadFile::Hold> JournalTable::HoldPayloads() const {
  if (payloads_ == nullptr) return nullptr;
  return std::make_unique<PayloadFile::Hold>(*payloads_);
}

absl::Status JournalTable::Inline(Database& copy, const PayloadFile::Hold& /*hold*/) const {
  std::vector<int64_t> seqs;
  {
    Query query(copy, "SELECT seq FROM large");
    while (query.Next()) seqs.push_back(query.Int(0));
    if (!query.status().ok()) return query.status();
  }
  return copy.Transaction([&]() -> absl::Status {
    for (const int64_t seq : seqs) {
      std::string payload;
      {
        Query query(copy, absl::StrCat("SELECT ", kPayload, " FROM ", kFrom, " WHERE seq = ?"),
                    seq);
        if (!query.Next()) continue;  // its row is damaged, and so it stays
        const absl::StatusOr<absl::string_view> read = Payload(query, 0, &payload);
        if (!read.ok()) return read.status();
      }
      absl::Status status =
          copy.Run("UPDATE journal SET payload = ? WHERE seq = ?", absl::string_view(payload), seq);
      if (!status.ok()) return status;
    }
    return copy.Execute("DELETE FROM large");
  });
}

}  // namespace lazynorm
