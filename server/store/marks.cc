#include "server/store/marks.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/store/errors.h"

namespace lazynorm {
namespace {

// A slot of the file: numbers as this machine writes them, as the file never leaves it. Small
// enough that several share a sector, and none crosses one.
struct Slot {
  int64_t model_id = 0;  // 0: free
  int64_t seq = 0;
  int64_t step = 0;
  uint64_t chain = 0;
  std::array<char, 88> model = {};  // ends at the first zero
  uint64_t checksum = 0;            // of all before
};
static_assert(sizeof(Slot) == 128);

uint64_t Checksum(const Slot& slot) {
  return ContentHash({reinterpret_cast<const char*>(&slot), offsetof(Slot, checksum)});
}

bool Write(int fd, int64_t place, const Slot& slot) {
  const auto at = static_cast<off_t>(place * static_cast<int64_t>(sizeof(Slot)));
  return pwrite(fd, &slot, sizeof(slot), at) == static_cast<ssize_t>(sizeof(slot));
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
  close(fd_);
}

void Marks::Load(const std::string& path, std::vector<std::string>* warnings) {
  MutexLock lock(&mutex_);
  Slot slot;
  ssize_t size = 0;
  while ((size = pread(fd_, &slot, sizeof(slot),
                       static_cast<off_t>(end_) * ssize_t{sizeof(slot)})) > 0) {
    const int64_t place = end_++;
    if (size == ssize_t{sizeof(slot)} && slot.checksum == Checksum(slot)) {
      if (slot.model_id == 0) {
        free_.push_back(place);
        continue;
      }
      slots_[slot.model_id] = place;
      found_[slot.model_id] = {std::string(slot.model.data()), {slot.seq, slot.step, slot.chain}};
    } else {
      warnings->push_back(absl::StrCat(path, ": mark ", place, " is damaged and not looked at"));
      free_.push_back(place);
    }
  }
}

int64_t Marks::SlotOf(int64_t model_id) {
  const auto known = slots_.find(model_id);
  if (known != slots_.end()) return known->second;
  int64_t place = end_;
  if (free_.empty()) {
    ++end_;
  } else {
    place = free_.back();
    free_.pop_back();
  }
  slots_[model_id] = place;
  return place;
}

void Marks::Set(int64_t model_id, absl::string_view model, const Position& end) {
  Slot slot{model_id, end.seq, end.step, end.chain};
  model.copy(slot.model.data(), slot.model.size() - 1);
  slot.checksum = Checksum(slot);
  MutexLock lock(&mutex_);
  Write(fd_, SlotOf(model_id), slot);
}

absl::Status Marks::Remove(int64_t model_id) {
  Slot slot;
  slot.checksum = Checksum(slot);
  MutexLock lock(&mutex_);
  const auto known = slots_.find(model_id);
  if (known == slots_.end()) return absl::OkStatus();
  if (!Write(fd_, known->second, slot) || fdatasync(fd_) != 0) {
    return StoreFailed(absl::StrCat("removing a mark: ", strerror(errno)));
  }
  free_.push_back(known->second);
  slots_.erase(known);
  return absl::OkStatus();
}

}  // namespace lazynorm
