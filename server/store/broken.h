#ifndef LAZYNORM_SERVER_STORE_BROKEN_H_
#define LAZYNORM_SERVER_STORE_BROKEN_H_

namespace lazynorm {

// Ways in which a store can lose what it has acknowledged. tests/fault compiles the store once with
// each of them, and its tests must notice; everywhere else nothing is broken.
enum class Broken {
  kNothing,
  kNoSync,              // what is written is never synced
  kAnswerBeforeSync,    // the commit comes after the acknowledgement
  kTrimBeforeSnapshot,  // the journal goes before the snapshot that replaces it is durable
  kManifestFirst,       // a snapshot's manifest comes before its bytes
  kJournalNotSynced,    // the frames of the journal are never synced
  kCheckThenAppend,     // PostgreSQL: the epoch is read, not locked, before the append
};

#ifndef LAZYNORM_BROKEN
#define LAZYNORM_BROKEN kNothing
#endif
inline constexpr Broken kBroken = Broken::LAZYNORM_BROKEN;

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_BROKEN_H_
