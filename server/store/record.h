#ifndef LAZYNORM_SERVER_STORE_RECORD_H_
#define LAZYNORM_SERVER_STORE_RECORD_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lazynorm {

// One command, kept. The store reads none of it. Plain value.
struct Record {
  int64_t step = 0;        // the model's step after it; several records may share one
  int32_t kind = 0;        // the caller's
  std::string request_id;  // the caller's, may be empty
  std::string payload;
};

// Where a model stands after a record. `chain` is a hash over all records so far: two histories
// with the same chain are the same. Plain value.
struct Position {
  int64_t seq = 0;  // place in the store's one journal; rises along a model, with gaps
  int64_t step = 0;
  uint64_t chain = 0;
};

inline bool operator==(const Position& a, const Position& b) {
  return a.seq == b.seq && a.step == b.step && a.chain == b.chain;
}

// The whole state of a model at a position. Plain value.
struct Snapshot {
  Position at;
  std::string numeric_fingerprint;  // which arithmetic made it (code path, threads)
  std::string bytes;
};

// What is known of a snapshot that a user asked for. Plain value.
struct CheckpointInfo {
  std::string id;  // given by the store, never used again
  std::string label;
  Position at;
  absl::Time create_time;
  int64_t bytes = 0;
};

// XXH3 (Collet): 64 bits against accidents, not against an adversary; the same on any machine.
uint64_t ContentHash(absl::string_view bytes);
// 16 bytes, XXH3's 128 bits.
std::string Digest(absl::string_view bytes);
// The chain of a model before its first record.
uint64_t FirstChain(absl::string_view model);
// The chain after `record`, whose payload hashes to `content`.
uint64_t NextChain(uint64_t chain, const Record& record, uint64_t content);
// What is kept beside a record of the journal and tells whether its row is as it was written.
uint64_t RowChecksum(int64_t model_id, const Position& position, const Record& record,
                     uint64_t content);

// A record on its way into the journal, and out of it. Plain value.
struct JournalRow {
  Position at;
  Record record;
  uint64_t checksum = 0;
};
// The row of `record` at place `seq`, behind `before`.
JournalRow ChainRow(int64_t model_id, const Position& before, int64_t seq, Record record);
// What is wrong with a row that was read: "the checksum is wrong", or that it does not continue
// `before`. `owner`: the model that it claims to be of. Empty if nothing is.
std::string FaultOf(const JournalRow& row, int64_t owner, int64_t model_id, const Position& before);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_RECORD_H_
