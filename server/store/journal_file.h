#ifndef LAZYNORM_SERVER_STORE_JOURNAL_FILE_H_
#define LAZYNORM_SERVER_STORE_JOURNAL_FILE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/mutex.h"
#include "server/store/disk_file.h"
#include "server/store/record.h"

namespace lazynorm {

// Where a record is in a JournalFile. Plain value.
struct Place {
  int64_t offset = -1;
  int32_t bytes = 0;

  bool in_file() const { return offset >= 0; }
};

inline bool operator==(const Place& a, const Place& b) {
  return a.offset == b.offset && a.bytes == b.bytes;
}

// Records on their way into the file: a group commit.
class Frame {
 public:
  void Add(int64_t model_id, const JournalRow& row);
  // A record as JournalFile::ReadBytes gave it.
  void AddBytes(int64_t model_id, int64_t seq, absl::string_view record);
  void Clear();
  bool empty() const { return entries_.empty(); }
  int64_t bytes() const;

 private:
  friend class JournalFile;
  struct Entry {
    int64_t model_id = 0;
    int64_t seq = 0;
    int64_t bytes = 0;
  };
  std::vector<Entry> entries_;
  std::string records_;
};

// A record that was found in the file. Whether it still counts, the database knows.
struct FoundRecord {
  int64_t model_id = 0;
  int64_t seq = 0;
  int64_t step = 0;
  Place place;
  int64_t frame = 0;
  bool whole = false;  // it is as it was written
};

// The young part of the journal, beside the database: each group commit is one frame, written and
// synced once, over bytes that were on the disk already; where the file has to grow, synced twice.
// SQLite writes all it is given twice, to its log and to its pages, a page at a time.
//
// The file is cut into segments. Frames fill one segment after the other; a segment whose records
// have all been freed is filled again, from its start. There is nothing else to it: what the file
// holds is found by reading it. A frame begins with a header that has a number, one higher than
// that of the frame before, the store's id, and whose records follow; each record has the checksum
// of its row. Of a segment that is being filled again, the frames behind the last new one have
// lower numbers, and are not looked at.
//
// Since a frame is begun only when the one before is durable, only the one with the highest number
// can have been cut off. Its records up to the first one that is not whole are taken; whether the
// others had been acknowledged, Marks know.
//
// Errors: STORE_FULL, and then nothing of a frame is there; STORE_FAILED. One thread writes and
// frees; any thread reads what is not freed, and holds.
class JournalFile {
 public:
  struct Options {
    int64_t store_id = 0;  // frames of another one are not seen
    int64_t first_segment_bytes = int64_t{256} << 10;
  };

  // Opens or creates `path`. Then Find, Take, and the rest.
  static absl::StatusOr<std::unique_ptr<JournalFile>> Open(const std::string& path,
                                                           Options options);

  // All records that there are, dead ones too, in the order of their frames' numbers; goes on
  // behind the last. `torn`: of all frames that ever were cut off, how many of their records count.
  absl::StatusOr<std::vector<FoundRecord>> Find(const std::map<int64_t, int64_t>& torn);
  // What Find found to be cut off, if anything: the frame's number and how many records count.
  std::pair<int64_t, int64_t> torn() const { return torn_; }
  // A record is in use.
  void Take(const Place& place);

  // Whether there can be a frame of that size.
  bool Fits(int64_t frame_bytes) const;
  // The places of the frame's records, in order. They are durable.
  absl::StatusOr<std::vector<Place>> Append(const Frame& frame);
  // The record is needed no more. When the last of a segment has gone, that is filled again, at
  // once or when nobody holds.
  void Free(const Place& place);

  // The row with that seq of that model. A row that is not as it was written has the wrong
  // checksum, as RowChecksum tells.
  absl::StatusOr<JournalRow> Read(const Place& place, int64_t seq) const;
  absl::StatusOr<std::string> ReadBytes(const Place& place) const;

  // Much more room is taken than the records need that are in use.
  bool IsSparse() const;
  // The records of the segment, none of the one that is being filled, in which the fewest bytes are
  // in use; they may be dead. Each segment once until it was filled again. Empty: there is none.
  absl::StatusOr<std::vector<FoundRecord>> FindSparsest();

  // While this lives, what is freed is not written over.
  class Hold {
   public:
    explicit Hold(JournalFile& file);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    JournalFile& file_;
  };

  const std::string& path() const { return file_->path(); }

 private:
  struct Segment {
    int64_t offset = 0, bytes = 0;
    int64_t records = 0, used = 0;  // in use: how many, how many bytes
    int64_t prepared = 0;           // bytes from its start that the disk has blocks for
    bool free = true;               // may be filled
    bool visited = false;           // by FindSparsest, since it was filled
  };

  // Where a frame goes.
  struct Room {
    size_t segment = 0;
    int64_t offset = 0, at = 0;       // of the segment, and of the frame within it
    int64_t prepared = 0, grown = 0;  // Segment::prepared, and what it will be
  };

  JournalFile(std::unique_ptr<DiskFile> file, Options options)
      : file_(std::move(file)), options_(options) {}

  uint64_t Magic() const;
  // The segments that there are, or could be, up to the one at `index`.
  Segment& SegmentAt(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Segment& SegmentOf(const Place& place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FindIn(const Segment& segment, std::vector<FoundRecord>* found) const;
  void FindInFrame(absl::string_view frame, int64_t offset, std::vector<FoundRecord>* found) const;
  void DropTorn(const std::map<int64_t, int64_t>& torn, std::vector<FoundRecord>* found);
  Room FindRoom(int64_t bytes);
  size_t ChooseSegment(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Grow(const Room& room);
  absl::Status WriteFrame(const Room& room, const Frame& frame);
  void Fill(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeIfEmpty(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<DiskFile> file_;
  const Options options_;
  int64_t next_number_ = 1;           // the writer's, as all up to the mutex
  std::pair<int64_t, int64_t> torn_;  // 0: none
  std::string header_;

  mutable Mutex mutex_;
  std::vector<Segment> segments_ ABSL_GUARDED_BY(mutex_);
  int64_t current_ ABSL_GUARDED_BY(mutex_) = -1;  // being filled
  int64_t filled_ ABSL_GUARDED_BY(mutex_) = 0;    // of it, bytes
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<size_t> held_ ABSL_GUARDED_BY(mutex_);  // empty, and free when nobody holds
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_JOURNAL_FILE_H_
