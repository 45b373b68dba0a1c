#include "server/store/record.h"

#include <xxhash.h>

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

}  // namespace lazynorm
