#ifndef LAZYNORM_SERVER_STORE_POSTGRES_READER_H_
#define LAZYNORM_SERVER_STORE_POSTGRES_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/manifest.h"
#include "server/store/postgres.h"
#include "server/store/store.h"

namespace lazynorm {

// A model's row. Plain value.
struct PgModel {
  int64_t id = 0;
  std::string name;
  int64_t epoch = 0;
  Position end;
};

// Reads models back, page by page: no connection is held, and no transaction open, while a Reader
// works. What the writer trims meanwhile is noticed. Thread-safe.
class PgReader {
 public:
  // `pool` must outlive this.
  PgReader(PgPool& pool, int snapshots_kept) : pool_(pool), snapshots_kept_(snapshots_kept) {}

  // MODEL_NOT_FOUND; MODEL_DAMAGED if the row is not as it was written.
  absl::StatusOr<PgModel> Find(absl::string_view model) const;
  // As Store::ReadFrom.
  absl::StatusOr<Position> ReadFrom(const PgModel& model, Position at, const Reader& reader) const;
  // The same, of a model that nobody else writes, to its very end. ABORTED if it is trimmed
  // meanwhile, by whoever wrote it before.
  absl::StatusOr<Position> ReadToEnd(const PgModel& model, const Reader& reader) const;
  absl::StatusOr<Position> ReadHistory(const PgModel& model, const Reader& reader) const;
  absl::Status ReadAt(const PgModel& model, int64_t step, const Reader& reader) const;
  // Of the snapshots, or of the checkpoints: in order. What is damaged is told of.
  absl::StatusOr<std::vector<Manifest>> Manifests(const PgModel& model, bool checkpoints,
                                                  std::vector<std::string>* warnings) const;
  // CHECKPOINT_NOT_FOUND.
  absl::StatusOr<Snapshot> ReadCheckpoint(const PgModel& model, absl::string_view id) const;

 private:
  absl::StatusOr<PgRows> Run(const std::string& sql, const std::vector<PgParam>& params) const;
  // ABORTED if the snapshot is taken away meanwhile.
  absl::StatusOr<std::string> Load(const Manifest& manifest) const;
  absl::StatusOr<Position> ReadSnapshot(const PgModel& model, int64_t last_seq,
                                        const Reader& reader) const;
  // ReadFrom `at`, which goes with it. False if what comes next is trimmed away.
  absl::StatusOr<bool> ReadOn(const PgModel& model, const Reader& reader, Position* at) const;
  // Gives each record behind `at` up to `last_seq`. False if they are trimmed away.
  absl::StatusOr<bool> Walk(const PgModel& model, int64_t last_seq, const Reader& reader,
                            Position* at) const;
  struct Page;
  absl::StatusOr<Page> ReadPage(const PgModel& model, const Position& at, int64_t last_seq) const;
  // Puts down why the row behind `at` is not there.
  absl::Status Miss(const PgModel& model, const Position& at, Page* page) const;
  absl::Status EndsAt(const PgModel& model, const Position& at) const;
  // Whether the model has stood at `at`, as far as is still known.
  absl::StatusOr<bool> Knows(const PgModel& model, const Position& at) const;
  absl::StatusOr<int64_t> LastSeqAt(const PgModel& model, int64_t step) const;

  PgPool& pool_;
  const int snapshots_kept_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_POSTGRES_READER_H_
