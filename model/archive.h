#ifndef LAZYNORM_MODEL_ARCHIVE_H_
#define LAZYNORM_MODEL_ARCHIVE_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"

namespace lazynorm {

// A class that can be saved names its state once,
//
//   template <class Self, class Archive>
//   static void Visit(Self& self, Archive& archive) { archive(self.step_, self.losses_); }
//
// and StateWriter writes it, StateReader reads it back, every bit. Numbers are little-endian and as
// wide as in memory; a run of numbers, text or objects is preceded by its length.

static_assert(std::endian::native == std::endian::little);

// No count comes near this, and one more can be added to what does not pass it.
inline constexpr int64_t kMostCount = int64_t{1} << 62;

// A container of plain numbers in one piece: vector, string, Eigen array.
template <class T>
concept NumberRun = requires(const T& run) {
  run.size();
  requires std::is_arithmetic_v<std::remove_cvref_t<decltype(*run.data())>>;
};

// Appends to a string. Thread-compatible.
class StateWriter {
 public:
  static constexpr bool kReading = false;

  explicit StateWriter(std::string* out) : out_(out) {}

  template <class... T>
  void operator()(const T&... values) {
    (Write(values), ...);
  }

 private:
  template <class T>
  void Write(const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      out_->append(reinterpret_cast<const char*>(&value), sizeof(value));
    } else if constexpr (NumberRun<T>) {
      Write(static_cast<int64_t>(value.size()));
      out_->append(reinterpret_cast<const char*>(value.data()),
                   value.size() * sizeof(*value.data()));
    } else {
      T::Visit(value, *this);
    }
  }
  template <class T>
  requires std::is_class_v<T>
  void Write(const std::vector<T>& objects) {
    Write(static_cast<int64_t>(objects.size()));
    for (const T& object : objects) Write(object);
  }

  std::string* const out_;
};

// Reads what a StateWriter wrote. After the first thing that cannot be read, ok() is false and all
// that is read stays as it was. An int64_t is a count: one that is negative or near the end of its
// range was never written. Thread-compatible.
class StateReader {
 public:
  static constexpr bool kReading = true;

  explicit StateReader(absl::string_view bytes) : left_(bytes) {}

  template <class... T>
  void operator()(T&... values) {
    (Read(values), ...);
  }

  bool ok() const { return ok_; }
  bool at_end() const { return left_.empty(); }

 private:
  template <class T>
  void Read(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte = value;
      Read(byte);
      ok_ = ok_ && byte <= 1;
      if (ok_) value = byte != 0;
    } else if constexpr (std::is_same_v<T, int64_t>) {
      int64_t count = value;
      Take(&count, 1, sizeof(count));
      ok_ = ok_ && count >= 0 && count <= kMostCount;
      if (ok_) value = count;
    } else if constexpr (std::is_arithmetic_v<T>) {
      Take(&value, 1, sizeof(value));
    } else if constexpr (NumberRun<T>) {
      int64_t length = 0;
      Read(length);
      constexpr int64_t kSize = sizeof(*value.data());
      ok_ = ok_ && length >= 0 && length <= static_cast<int64_t>(left_.size()) / kSize;
      if (!ok_) return;
      value.resize(length);
      Take(value.data(), length, kSize);
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(*value.data())>, int64_t>) {
        for (const int64_t count : value) ok_ = ok_ && count >= 0 && count <= kMostCount;
      }
    } else {
      T::Visit(value, *this);
    }
  }
  template <class T>
  requires std::is_class_v<T>
  void Read(std::vector<T>& objects) {
    int64_t length = 0;
    Read(length);
    // An object takes a byte at least.
    ok_ = ok_ && length >= 0 && length <= static_cast<int64_t>(left_.size());
    for (int64_t i = 0; ok_ && i < length; ++i) Read(objects.emplace_back());
  }

  void Take(void* to, int64_t count, int64_t size) {
    ok_ = ok_ && count * size <= static_cast<int64_t>(left_.size());
    if (!ok_ || count == 0) return;
    std::memcpy(to, left_.data(), count * size);
    left_.remove_prefix(count * size);
  }

  absl::string_view left_;
  bool ok_ = true;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_ARCHIVE_H_
