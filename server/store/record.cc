#include "server/store/record.h"

#include <xxhash.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace lazynorm {

uint64_t ContentHash(absl::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string Digest(absl::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
}

uint64_t FirstChain(absl::string_view model) {
  return ContentHash(absl::StrCat("lazynorm chain of ", model));
}

// Numbers go in as text: the same on every byte order, and with no two readings.
uint64_t NextChain(uint64_t chain, const Record& record, uint64_t content) {
  return ContentHash(absl::StrCat(chain, ",", record.step, ",", record.kind, ",", content, ",",
                                  record.request_id));
}

uint64_t RowChecksum(int64_t model_id, const Position& position, const Record& record,
                     uint64_t content) {
  return ContentHash(absl::StrCat(model_id, ",", position.seq, ",", position.step, ",",
                                  position.chain, ",", record.kind, ",", content, ",",
                                  record.request_id));
}

JournalRow ChainRow(int64_t model_id, const Position& before, int64_t seq, Record record) {
  const uint64_t content = ContentHash(record.payload);
  const Position at = {seq, record.step, NextChain(before.chain, record, content)};
  const uint64_t checksum = RowChecksum(model_id, at, record, content);
  return {at, std::move(record), checksum};
}

std::string FaultOf(const JournalRow& row, int64_t owner, int64_t model_id,
                    const Position& before) {
  const uint64_t content = ContentHash(row.record.payload);
  if (row.checksum != RowChecksum(owner, row.at, row.record, content)) {
    return "the checksum is wrong";
  }
  if (owner == model_id && row.at.chain == NextChain(before.chain, row.record, content)) return "";
  return absl::StrCat("does not continue seq ", before.seq, ", step ", before.step);
}

}  // namespace lazynorm
