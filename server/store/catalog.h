#ifndef LAZYNORM_SERVER_STORE_CATALOG_H_
#define LAZYNORM_SERVER_STORE_CATALOG_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/store/committer.h"
#include "server/store/manifest.h"
#include "server/store/marks.h"
#include "server/store/sqlite.h"
#include "server/store/store.h"

namespace lazynorm {

// A record of the journal, the step it belongs to, and where in the file it is, if it is there and
// not in the database.
struct RowPlace {
  int64_t seq = 0;
  int64_t step = 0;
  Place place;
};

// What is known in memory of a model of the database; the SqliteStore's mutex guards it. The rows
// stand in for an index on the journal, which would cost it two thirds of its speed.
struct ModelEntry {
  int64_t model_id = 0;
  std::string name;
  std::deque<RowPlace> rows;          // of the journal, in order, those that read well
  std::vector<int64_t> damaged_rows;  // that claim to be this model's
  std::vector<Manifest> snapshots;    // in order; checkpoints are not among them
  std::vector<Manifest> checkpoints;
  std::shared_ptr<Lineage> lineage;  // of the latest journal; null before the first
  absl::Status damage;
  int readers = 0;       // while there are any, nothing is taken away
  bool deleted = false;  // a tombstone: some of its data may be there still
  std::map<int64_t, std::string> damaged_manifests;  // by snapshot id: what is wrong
  std::vector<Manifest> dying;                       // to be removed: the row, then it is dead
  std::vector<Manifest> dead;                        // whose chunks are to be removed
};

struct Catalog {
  std::map<int64_t, std::shared_ptr<ModelEntry>> models;  // by model_id, the deleted too
  int64_t last_seq = 0;
  int64_t last_snapshot_id = 0;
  int64_t last_model_id = 0;
  std::vector<std::string> warnings;
  // A frame of the journal was cut off and there is no space to put that down: if others followed,
  // it could no longer be told from a damaged one.
  bool journal_full = false;
};

// Reads all but the snapshots' bytes, verifying each checksum, and tells `journal` which of its
// records are in use: what is damaged is put down with its model. A mark without its model is a
// model whose row is gone. `journal` null: there is no file.
absl::StatusOr<Catalog> LoadCatalog(Database& db, JournalFile* journal,
                                    const std::map<int64_t, Marks::Mark>& marks);

absl::Status InsertRow(Database& db, int64_t model_id, const JournalRow& row);
// The file's records of a model up to `seq` are needed no more.
absl::Status SetTrimmed(Database& db, int64_t model_id, int64_t seq);
absl::Status InsertModel(Database& db, const ModelEntry& model);
// Marks a model's row as deleted, whatever it reads: it may be damaged, or gone.
absl::Status InsertTombstone(Database& db, const ModelEntry& model);
absl::Status InsertManifest(Database& db, const Manifest& manifest);

// The key of a snapshot's chunk.
inline int64_t ChunkId(int64_t snapshot_id, int64_t chunk) {
  return (snapshot_id << 20) | chunk;
}

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_CATALOG_H_
