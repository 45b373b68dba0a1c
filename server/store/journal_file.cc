#include "server/store/journal_file.h"

#include <algorithm>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/broken.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// Numbers as this machine writes them: all that run it are little-endian.
struct FrameHeader {
  uint64_t magic = 0;
  int64_t number = 0;
  int64_t bytes = 0;      // of the frame
  int64_t records = 0;    // whose entries follow
  uint64_t checksum = 0;  // of all before, and of the entries
};

struct RecordHeader {
  int64_t step = 0;
  int32_t kind = 0;
  int32_t request_id_bytes = 0;
  uint64_t chain = 0;
  uint64_t checksum = 0;  // RowChecksum
};

constexpr int64_t kEntryBytes = 3 * sizeof(int64_t);
constexpr int64_t kAlignment = 8;  // of frames
// Four of the first size, four of four times that, and so on; the last size is that of all others.
constexpr size_t kSegmentsOfSize = 4, kLastSize = 3;
// In first segments: by how much the file grows at least, within a segment.
constexpr int64_t kPiece = 4;
// In first segments: how much may be taken beyond what is needed.
constexpr int64_t kSlack = 32;

int64_t RoundUp(int64_t bytes, int64_t unit = kAlignment) {
  return (bytes + unit - 1) / unit * unit;
}

template <typename T>
T As(absl::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <typename T>
void AppendTo(std::string* bytes, const T& value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint64_t HeaderChecksum(const FrameHeader& header, absl::string_view entries) {
  FrameHeader plain = header;
  plain.checksum = ContentHash(entries);
  return ContentHash({reinterpret_cast<const char*>(&plain), sizeof plain});
}

// Where the records of the frame begin that `bytes` begins with; nothing if it does not with one.
int64_t RecordsOf(absl::string_view bytes, uint64_t magic, FrameHeader* header) {
  if (bytes.size() < sizeof(FrameHeader) || As<uint64_t>(bytes) != magic) return 0;
  *header = As<FrameHeader>(bytes);
  const auto size = static_cast<int64_t>(bytes.size());
  constexpr int64_t kHeader = sizeof(FrameHeader);
  if (header->bytes < kHeader || header->bytes > size || header->records < 1) return 0;
  if (header->records > (header->bytes - kHeader) / kEntryBytes) return 0;
  const int64_t entries = header->records * kEntryBytes;
  const absl::string_view text = bytes.substr(kHeader, static_cast<size_t>(entries));
  return header->checksum == HeaderChecksum(*header, text) ? kHeader + entries : 0;
}

// All but the payload, which is `*payload`; what cannot be read has no checksum.
JournalRow Parse(absl::string_view record, int64_t seq, absl::string_view* payload) {
  JournalRow row;
  row.at.seq = seq;
  if (record.size() < sizeof(RecordHeader)) return row;
  const auto header = As<RecordHeader>(record);
  record.remove_prefix(sizeof header);
  const auto request_id = static_cast<size_t>(std::max(header.request_id_bytes, 0));
  if (request_id > record.size()) return row;
  row.at = {seq, header.step, header.chain};
  row.record.step = header.step;
  row.record.kind = header.kind;
  row.record.request_id = std::string(record.substr(0, request_id));
  row.checksum = header.checksum;
  *payload = record.substr(request_id);
  return row;
}

}  // namespace

void Frame::Add(int64_t model_id, const JournalRow& row) {
  const Record& record = row.record;
  const size_t begin = records_.size();
  AppendTo(&records_,
           RecordHeader{row.at.step, record.kind, static_cast<int32_t>(record.request_id.size()),
                        row.at.chain, row.checksum});
  absl::StrAppend(&records_, record.request_id, record.payload);
  entries_.push_back({model_id, row.at.seq, static_cast<int64_t>(records_.size() - begin)});
}

void Frame::AddBytes(int64_t model_id, int64_t seq, absl::string_view record) {
  absl::StrAppend(&records_, record);
  entries_.push_back({model_id, seq, static_cast<int64_t>(record.size())});
}

void Frame::Clear() {
  entries_.clear();
  records_.clear();
}

int64_t Frame::bytes() const {
  return static_cast<int64_t>(sizeof(FrameHeader)) +
         kEntryBytes * static_cast<int64_t>(entries_.size()) +
         static_cast<int64_t>(records_.size());
}

absl::StatusOr<std::unique_ptr<JournalFile>> JournalFile::Open(const std::string& path,
                                                               Options options) {
  absl::StatusOr<std::unique_ptr<DiskFile>> file = DiskFile::Open(path);
  if (!file.ok()) return file.status();
  return absl::WrapUnique(new JournalFile(*std::move(file), options));
}

uint64_t JournalFile::Magic() const {
  constexpr uint64_t kMagic = 0x6c7a796e6a6f7572;  // "lzynjour"
  return kMagic ^ static_cast<uint64_t>(options_.store_id);
}

JournalFile::Segment& JournalFile::SegmentAt(size_t index) {
  while (segments_.size() <= index) {
    const size_t size = std::min(segments_.size() / kSegmentsOfSize, kLastSize);
    Segment next;
    if (!segments_.empty()) next.offset = segments_.back().offset + segments_.back().bytes;
    next.bytes = options_.first_segment_bytes << (2 * size);
    segments_.push_back(next);
  }
  return segments_[index];
}

JournalFile::Segment& JournalFile::SegmentOf(const Place& place) {
  const auto behind =
      std::upper_bound(segments_.begin(), segments_.end(), place.offset,
                       [](int64_t offset, const Segment& s) { return offset < s.offset; });
  return *std::prev(behind);
}

void JournalFile::FindInFrame(absl::string_view frame, int64_t offset,
                              std::vector<FoundRecord>* found) const {
  FrameHeader header;
  int64_t at = RecordsOf(frame, Magic(), &header);
  absl::string_view entries = frame.substr(sizeof(FrameHeader));
  for (int64_t i = 0; i < header.records; ++i, entries.remove_prefix(kEntryBytes)) {
    const auto entry = As<Frame::Entry>(entries);
    static_assert(sizeof entry == kEntryBytes);
    const absl::string_view record =
        frame.substr(static_cast<size_t>(at), static_cast<size_t>(entry.bytes));
    absl::string_view payload;
    const JournalRow row = Parse(record, entry.seq, &payload);
    const uint64_t checksum = RowChecksum(entry.model_id, row.at, row.record, ContentHash(payload));
    found->push_back({.model_id = entry.model_id,
                      .seq = entry.seq,
                      .step = row.at.step,
                      .place = {offset + at, static_cast<int32_t>(entry.bytes)},
                      .frame = header.number,
                      .whole = row.checksum == checksum});
    at += entry.bytes;
  }
}

// Frames are looked for everywhere, so that a damaged header hides its own frame alone.
absl::Status JournalFile::FindIn(const Segment& segment, std::vector<FoundRecord>* found) const {
  const absl::StatusOr<std::string> read = file_->Read(segment.offset, segment.bytes);
  if (!read.ok()) return read.status();
  const absl::string_view bytes = *read;
  int64_t last = 0;
  for (int64_t at = 0; at < static_cast<int64_t>(bytes.size());) {
    FrameHeader header;
    const absl::string_view rest = bytes.substr(static_cast<size_t>(at));
    if (RecordsOf(rest, Magic(), &header) == 0 || header.number <= last) {
      at += kAlignment;
      continue;
    }
    FindInFrame(rest.substr(0, static_cast<size_t>(header.bytes)), segment.offset + at, found);
    last = header.number;
    at += RoundUp(header.bytes);
  }
  return absl::OkStatus();
}

void JournalFile::DropTorn(const std::map<int64_t, int64_t>& torn,
                           std::vector<FoundRecord>* found) {
  std::vector<FoundRecord> kept;
  const int64_t newest = found->back().frame;
  int64_t frame = 0, place = 0, count = 0;
  bool cut_off = false;
  for (const FoundRecord& record : *found) {
    place = record.frame == frame ? place + 1 : 0;
    frame = record.frame;
    const auto known = torn.find(frame);
    if (known != torn.end() && place >= known->second) continue;
    cut_off = cut_off || (frame == newest && known == torn.end() && !record.whole);
    if (cut_off) continue;
    if (frame == newest) ++count;
    kept.push_back(record);
  }
  if (cut_off) torn_ = {newest, count};
  *found = std::move(kept);
}

absl::StatusOr<std::vector<FoundRecord>> JournalFile::Find(const std::map<int64_t, int64_t>& torn) {
  const absl::StatusOr<int64_t> size = file_->Size();
  if (!size.ok()) return size.status();
  std::vector<FoundRecord> found;
  if (!torn.empty()) next_number_ = torn.rbegin()->first + 1;
  for (size_t i = 0;; ++i) {
    Segment segment;
    {
      MutexLock lock(&mutex_);
      segment = SegmentAt(i);
      SegmentAt(i).prepared = std::clamp<int64_t>(*size - segment.offset, 0, segment.bytes);
    }
    if (segment.offset >= *size) break;
    const absl::Status status = FindIn(segment, &found);
    if (!status.ok()) return status;
  }
  if (found.empty()) return found;
  std::stable_sort(found.begin(), found.end(),
                   [](const FoundRecord& a, const FoundRecord& b) { return a.frame < b.frame; });
  next_number_ = std::max(next_number_, found.back().frame + 1);
  const Place last = found.back().place;
  DropTorn(torn, &found);
  MutexLock lock(&mutex_);
  Segment& segment = SegmentOf(last);
  segment.free = false;
  current_ = &segment - segments_.data();
  filled_ = RoundUp(last.offset + last.bytes - segment.offset);
  return found;
}

void JournalFile::Take(const Place& place) {
  MutexLock lock(&mutex_);
  Segment& segment = SegmentOf(place);
  segment.free = false;
  ++segment.records;
  segment.used += place.bytes;
}

bool JournalFile::Fits(int64_t frame_bytes) const {
  return frame_bytes <= options_.first_segment_bytes << (2 * kLastSize);
}

size_t JournalFile::ChooseSegment(int64_t bytes) {
  for (const bool prepared : {true, false}) {
    for (size_t i = 0; i < segments_.size(); ++i) {
      const Segment& s = segments_[i];
      if (s.free && (s.prepared == s.bytes) == prepared && s.bytes >= bytes) return i;
    }
  }
  while (SegmentAt(segments_.size()).bytes < bytes) continue;
  return segments_.size() - 1;
}

JournalFile::Room JournalFile::FindRoom(int64_t bytes) {
  MutexLock lock(&mutex_);
  const auto current = static_cast<size_t>(current_);
  const bool goes_on = current_ >= 0 && filled_ + bytes <= segments_[current].bytes;
  Room room;
  room.segment = goes_on ? current : ChooseSegment(bytes);
  room.at = goes_on ? filled_ : 0;
  const Segment& segment = segments_[room.segment];
  room.offset = segment.offset;
  room.prepared = room.grown = segment.prepared;
  const int64_t end = RoundUp(room.at + bytes, kPiece * options_.first_segment_bytes);
  if (room.at + bytes > segment.prepared) room.grown = std::min(end, segment.bytes);
  return room;
}

void JournalFile::Fill(size_t index) {
  segments_[index].free = segments_[index].visited = false;
  const int64_t before = std::exchange(current_, static_cast<int64_t>(index));
  if (before >= 0) FreeIfEmpty(static_cast<size_t>(before));
}

// With the blocks on the disk, a frame's sync need not wait for the file system's own journal.
// Zeros in whole pages, and not the frame alone, make the pages of the cache large ones, for all
// frames that will be there.
absl::Status JournalFile::Grow(const Room& room) {
  const std::string zeros(static_cast<size_t>(room.grown - room.prepared), '\0');
  return file_->Write(room.offset + room.prepared, zeros);
}

// The header goes last: until it is there, so is no frame. What it tells of must not be beyond the
// end of the file, not even after a power cut: it would come to light when the file has grown.
absl::Status JournalFile::WriteFrame(const Room& room, const Frame& frame) {
  FrameHeader header = {.magic = Magic(),
                        .number = next_number_,
                        .bytes = frame.bytes(),
                        .records = static_cast<int64_t>(frame.entries_.size())};
  const absl::string_view entries(reinterpret_cast<const char*>(frame.entries_.data()),
                                  frame.entries_.size() * sizeof(Frame::Entry));
  header.checksum = HeaderChecksum(header, entries);
  header_.clear();
  AppendTo(&header_, header);
  absl::StrAppend(&header_, entries);
  const int64_t offset = room.offset + room.at;
  const bool grows = room.grown > room.prepared;
  absl::Status status = grows ? Grow(room) : absl::OkStatus();
  if (status.ok()) {
    status = file_->Write(offset + static_cast<int64_t>(header_.size()), frame.records_);
  }
  if (status.ok() && grows) status = file_->Sync();
  if (!status.ok()) return status;
  status = file_->Write(offset, header_);
  if (status.ok()) return file_->Sync();
  // Nothing was kept, so it must not be found either.
  const absl::StatusOr<std::string> there =
      file_->Read(offset, static_cast<int64_t>(header_.size()));
  if (!there.ok()) return there.status();
  if (*there != header_) return status;
  absl::Status wiped = file_->Write(offset, std::string(sizeof(FrameHeader::magic), '\0'));
  if (wiped.ok()) wiped = file_->Sync();
  return wiped.ok() ? status : StoreFailed(wiped.message());
}

absl::StatusOr<std::vector<Place>> JournalFile::Append(const Frame& frame) {
  const Room room = FindRoom(frame.bytes());
  const absl::Status status = WriteFrame(room, frame);
  if (!status.ok()) return status;
  ++next_number_;
  std::vector<Place> places;
  places.reserve(frame.entries_.size());
  MutexLock lock(&mutex_);
  if (room.at == 0) Fill(room.segment);
  Segment& segment = segments_[room.segment];
  segment.prepared = room.grown;
  filled_ = RoundUp(room.at + frame.bytes());
  int64_t at = room.offset + room.at + static_cast<int64_t>(header_.size());
  for (const Frame::Entry& entry : frame.entries_) {
    places.push_back({at, static_cast<int32_t>(entry.bytes)});
    ++segment.records;
    segment.used += entry.bytes;
    at += entry.bytes;
  }
  return places;
}

void JournalFile::Free(const Place& place) {
  MutexLock lock(&mutex_);
  Segment& segment = SegmentOf(place);
  --segment.records;
  segment.used -= place.bytes;
  FreeIfEmpty(static_cast<size_t>(&segment - segments_.data()));
}

void JournalFile::FreeIfEmpty(size_t index) {
  if (segments_[index].records > 0 || static_cast<int64_t>(index) == current_) return;
  if (holds_ > 0) {
    held_.push_back(index);
  } else {
    segments_[index].free = true;
  }
}

absl::StatusOr<std::string> JournalFile::ReadBytes(const Place& place) const {
  return file_->Read(place.offset, place.bytes);
}

absl::StatusOr<JournalRow> JournalFile::Read(const Place& place, int64_t seq) const {
  const absl::StatusOr<std::string> bytes = ReadBytes(place);
  if (!bytes.ok()) return bytes.status();
  absl::string_view payload;
  JournalRow row = Parse(*bytes, seq, &payload);
  row.record.payload = std::string(payload);
  return row;
}

bool JournalFile::IsSparse() const {
  MutexLock lock(&mutex_);
  int64_t taken = 0, used = 0;
  for (const Segment& segment : segments_) {
    if (segment.records > 0) taken += segment.bytes;  // others are free, or soon
    used += segment.used;
  }
  return taken > 2 * used + kSlack * options_.first_segment_bytes;
}

absl::StatusOr<std::vector<FoundRecord>> JournalFile::FindSparsest() {
  Segment sparsest;
  {
    MutexLock lock(&mutex_);
    Segment* chosen = nullptr;
    for (Segment& segment : segments_) {
      const bool filling = &segment - segments_.data() == current_;
      if (segment.free || filling || segment.visited || segment.records == 0) continue;
      if (chosen == nullptr || segment.used < chosen->used) chosen = &segment;
    }
    if (chosen == nullptr) return std::vector<FoundRecord>();
    chosen->visited = true;
    sparsest = *chosen;
  }
  std::vector<FoundRecord> found;
  const absl::Status status = FindIn(sparsest, &found);
  if (!status.ok()) return status;
  return found;
}

JournalFile::Hold::Hold(JournalFile& file) : file_(file) {
  MutexLock lock(&file_.mutex_);
  ++file_.holds_;
}

JournalFile::Hold::~Hold() {
  MutexLock lock(&file_.mutex_);
  if (--file_.holds_ > 0) return;
  for (const size_t index : file_.held_) file_.segments_[index].free = true;
  file_.held_.clear();
}

}  // namespace lazynorm
