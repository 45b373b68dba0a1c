#ifndef LAZYNORM_SERVER_STORE_MANIFEST_H_
#define LAZYNORM_SERVER_STORE_MANIFEST_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/store/record.h"

namespace lazynorm {

// A snapshot's manifest: the row that makes its chunks a snapshot. Plain value.
struct Manifest {
  int64_t id = 0;
  int64_t model_id = 0;
  Position at;
  int64_t chunks = 0;
  int64_t bytes = 0;
  std::string digest;
  std::string numeric_fingerprint;
  bool is_checkpoint = false;
  std::string label;
  absl::Time create_time;
};

// All but its id and chunks.
Manifest ManifestOf(int64_t model_id, const Snapshot& snapshot);
Manifest CheckpointManifestOf(int64_t model_id, const Snapshot& snapshot, std::string label,
                              absl::Time create_time);
CheckpointInfo ToInfo(const Manifest& manifest);

// What is kept beside a row and tells whether it is as it was written.
int64_t ManifestChecksum(const Manifest& manifest);
int64_t ModelChecksum(int64_t id, absl::string_view name, bool deleted);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_MANIFEST_H_
