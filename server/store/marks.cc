#include "server/store/marks.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {

// A slot of the file: numbers as this machine writes them, as the file never leaves it. Small
// enough that several share a sector, and none crosses one. All zeros: never used.
struct Marks::Slot {
  int64_t model_id = 0;  // 0: free
  int64_t seq = 0;
  int64_t step = 0;
  uint64_t chain = 0;
  std::array<char, 88> model = {};  // ends at the first zero
  uint64_t checksum = 0;            // of all before
};

namespace {

constexpr int64_t kSlotsAtOnce = 512;

template <class Slot>
uint64_t Checksum(const Slot& slot) {
  return ContentHash({reinterpret_cast<const char*>(&slot), offsetof(Slot, checksum)});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Marks>> Marks::Open(const std::string& path,
                                                   std::vector<std::string>* warnings) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return StoreFailed(absl::StrCat("cannot open ", path, ": ", strerror(errno)));
  auto marks = absl::WrapUnique(new Marks(fd));
  marks->Load(path, warnings);
  return marks;
}

Marks::~Marks() {
  MutexLock lock(&mutex_);
  if (mapped_ != nullptr) munmap(mapped_, static_cast<size_t>(size_) * sizeof(Slot));
  close(fd_);
}

void Marks::Load(const std::string& path, std::vector<std::string>* warnings) {
  static_assert(sizeof(Slot) == 128);
  MutexLock lock(&mutex_);
  const off_t bytes = lseek(fd_, 0, SEEK_END);
  const int64_t slots = (bytes + ssize_t{sizeof(Slot)} - 1) / ssize_t{sizeof(Slot)};
  if (slots > 0 && !Map(slots)) {
    warnings->push_back(absl::StrCat(path, ": cannot be read and is not looked at"));
    return;
  }
  for (int64_t place = 0; place < slots; ++place) {
    const Slot& slot = mapped_[place];
    const bool unused = slot.checksum == 0 && slot.model_id == 0;
    if (!unused && slot.checksum != Checksum(slot)) {
      warnings->push_back(absl::StrCat(path, ": mark ", place, " is damaged and not looked at"));
    }
    if (unused || slot.model_id == 0 || slot.checksum != Checksum(slot)) continue;
    slots_[slot.model_id] = place;
    found_[slot.model_id] = {std::string(slot.model.data()), {slot.seq, slot.step, slot.chain}};
  }
  std::vector<bool> taken(static_cast<size_t>(size_));
  for (const auto& [id, place] : slots_) taken[static_cast<size_t>(place)] = true;
  for (int64_t place = size_ - 1; place >= 0; --place) {
    if (!taken[static_cast<size_t>(place)]) free_.push_back(place);
  }
}

// The blocks are allocated first: writing to a mapping that finds no space would be a SIGBUS.
bool Marks::Map(int64_t slots) {
  const int64_t size = (slots + kSlotsAtOnce - 1) / kSlotsAtOnce * kSlotsAtOnce;
  const size_t bytes = static_cast<size_t>(size) * sizeof(Slot);
  if (posix_fallocate(fd_, 0, static_cast<off_t>(bytes)) != 0) return false;
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (mapped == MAP_FAILED) return false;
  if (mapped_ != nullptr) munmap(mapped_, static_cast<size_t>(size_) * sizeof(Slot));
  mapped_ = static_cast<Slot*>(mapped);
  size_ = size;
  return true;
}

Marks::Slot* Marks::SlotOf(int64_t model_id) {
  const auto known = slots_.find(model_id);
  if (known != slots_.end()) return &mapped_[known->second];
  if (free_.empty()) {
    const int64_t before = size_;
    if (!Map(size_ + 1)) return nullptr;
    for (int64_t place = size_ - 1; place >= before; --place) free_.push_back(place);
  }
  const int64_t place = free_.back();
  free_.pop_back();
  slots_[model_id] = place;
  return &mapped_[place];
}

void Marks::Set(int64_t model_id, absl::string_view model, const Position& end) {
  Slot slot{model_id, end.seq, end.step, end.chain};
  model.copy(slot.model.data(), slot.model.size() - 1);
  slot.checksum = Checksum(slot);
  MutexLock lock(&mutex_);
  Slot* const place = SlotOf(model_id);
  if (place != nullptr) *place = slot;
}

absl::Status Marks::Remove(int64_t model_id) {
  MutexLock lock(&mutex_);
  const auto known = slots_.find(model_id);
  if (known == slots_.end()) return absl::OkStatus();
  mapped_[known->second] = {};
  if (msync(mapped_, static_cast<size_t>(size_) * sizeof(Slot), MS_SYNC) != 0) {
    return StoreFailed(absl::StrCat("removing a mark: ", strerror(errno)));
  }
  free_.push_back(known->second);
  slots_.erase(known);
  return absl::OkStatus();
}

}  // namespace lazynorm
