#include "server/formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

// The format allows 100 MB; a model that is hosted here comes nowhere near this.
constexpr uint64_t kMostHeader = 16 << 20;
constexpr int kMostValues = 1'000'000;
constexpr char kMetadata[] = "__metadata__";

absl::Status Refused(absl::string_view what) {
  return InvalidState("data", absl::StrCat("expected a safetensors file, ", what));
}

absl::Status RefusedTensor(absl::string_view name, absl::string_view expected) {
  return InvalidState("data",
                      absl::StrCat("tensor \"", name.substr(0, 80), "\": expected ", expected));
}

// Sees the header while it is parsed: a name that comes twice in one object is lost afterwards.
class HeaderGuard {
 public:
  bool operator()(int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys_[std::min(depth, kDeep)].clear();
    if (event == json::parse_event_t::key) {
      if (!keys_[std::min(depth - 1, kDeep)].insert(value.get<std::string>()).second) {
        twice_ = value.get<std::string>();
      }
    }
    too_deep_ |= depth > kDeep;
    return ++values_ <= kMostValues && !too_deep_;
  }

  absl::Status status() const {
    if (too_deep_) return Refused("its header is nested too deeply");
    if (values_ > kMostValues) return Refused("its header has too many entries");
    if (!twice_.empty()) return RefusedTensor(twice_, "to be there once");
    return absl::OkStatus();
  }

 private:
  // {"name": {"shape": [
  static constexpr int kDeep = 3;

  std::set<std::string> keys_[kDeep + 1];
  std::string twice_;
  int values_ = 0;
  bool too_deep_ = false;
};

// One tensor as the header has it.
struct Entry {
  std::string name;
  bool counter = false;  // I64, else F32
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

absl::StatusOr<uint64_t> ToCount(const json& value, absl::string_view name,
                                 absl::string_view what) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return RefusedTensor(name, absl::StrCat(what, " of whole numbers from 0 on"));
}

// The bytes of a tensor of this shape; an error if they cannot be counted.
absl::StatusOr<uint64_t> SizeOf(const Entry& entry) {
  uint64_t size = entry.counter ? sizeof(int64_t) : sizeof(float);
  for (const int64_t length : entry.shape) {
    if (__builtin_mul_overflow(size, static_cast<uint64_t>(length), &size)) {
      return RefusedTensor(entry.name, "a shape whose product is a number of 64 bits");
    }
  }
  return size;
}

absl::StatusOr<Entry> ToEntry(const std::string& name, const json& value) {
  Entry entry{.name = name};
  const auto member = [&value](const char* key) {
    return value.is_object() && value.contains(key) ? value[key] : json();
  };
  const json dtype = member("dtype"), shape = member("shape"), offsets = member("data_offsets");
  if (dtype != "F32" && dtype != "I64") return RefusedTensor(name, "dtype F32 or I64");
  entry.counter = dtype == "I64";
  if (!shape.is_array()) return RefusedTensor(name, "a shape");
  for (const json& length : shape) {
    ASSIGN_OR_RETURN(const uint64_t count, ToCount(length, name, "a shape"));
    if (count > INT64_MAX) return RefusedTensor(name, "a shape of numbers of 63 bits");
    entry.shape.push_back(static_cast<int64_t>(count));
  }
  if (!offsets.is_array() || offsets.size() != 2) return RefusedTensor(name, "two data_offsets");
  ASSIGN_OR_RETURN(entry.begin, ToCount(offsets[0], name, "data_offsets"));
  ASSIGN_OR_RETURN(entry.end, ToCount(offsets[1], name, "data_offsets"));
  ASSIGN_OR_RETURN(const uint64_t size, SizeOf(entry));
  if (entry.end < entry.begin || entry.end - entry.begin != size) {
    return RefusedTensor(name, absl::StrCat("data_offsets with ", size,
                                            " bytes between them, as "
                                            "dtype and shape say"));
  }
  return entry;
}

// Every byte of the data must belong to one tensor.
absl::Status CheckCover(std::vector<Entry>& entries, uint64_t size) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      return RefusedTensor(entry.name,
                           absl::StrCat("data from byte ", covered, " on, got ", entry.begin));
    }
    covered = entry.end;
  }
  if (covered == size) return absl::OkStatus();
  return Refused(absl::StrCat(covered, " bytes of data, got ", size));
}

absl::StatusOr<std::map<std::string, std::string>> ToMetadata(const json& value) {
  std::map<std::string, std::string> metadata;
  if (!value.is_object()) return Refused("__metadata__ an object of texts");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) return Refused("__metadata__ an object of texts");
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

StateTensor ToTensor(Entry entry, absl::string_view data) {
  const absl::string_view bytes = data.substr(entry.begin, entry.end - entry.begin);
  StateTensor tensor{std::move(entry.name), std::move(entry.shape), {}, {}};
  if (entry.counter) {
    tensor.int64_values.resize(bytes.size() / sizeof(int64_t));
    if (!bytes.empty()) std::memcpy(tensor.int64_values.data(), bytes.data(), bytes.size());
  } else {
    tensor.values.resize(bytes.size() / sizeof(float));
    if (!bytes.empty()) std::memcpy(tensor.values.data(), bytes.data(), bytes.size());
  }
  return tensor;
}

absl::Status ParseHeader(absl::string_view header, json* root) {
  HeaderGuard guard;
  try {
    *root = json::parse(header.begin(), header.end(), std::ref(guard));
  } catch (const json::exception&) {
    return Refused("its header a JSON object");
  }
  return guard.status();
}

absl::StatusOr<absl::string_view> HeaderOf(absl::string_view bytes) {
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return Refused("at least 8 bytes");
  std::memcpy(&length, bytes.data(), sizeof(length));
  bytes.remove_prefix(sizeof(length));
  if (length > kMostHeader || length > bytes.size()) {
    return Refused(absl::StrCat("a header of at most ",
                                std::min<uint64_t>(kMostHeader, bytes.size()), " bytes, got ",
                                length));
  }
  if (length == 0 || bytes[0] != '{') return Refused("a header that begins with {");
  return bytes.substr(0, length);
}

// The bytes of a tensor's numbers.
absl::string_view BytesOf(const StateTensor& tensor) {
  if (!tensor.int64_values.empty()) {
    return {reinterpret_cast<const char*>(tensor.int64_values.data()),
            tensor.int64_values.size() * sizeof(int64_t)};
  }
  return {reinterpret_cast<const char*>(tensor.values.data()),
          tensor.values.size() * sizeof(float)};
}

}  // namespace

std::string ToSafetensors(const Safetensors& file) {
  std::vector<const StateTensor*> tensors;
  for (const StateTensor& tensor : file.tensors) tensors.push_back(&tensor);
  std::stable_partition(tensors.begin(), tensors.end(),
                        [](const StateTensor* tensor) { return !tensor->int64_values.empty(); });
  ordered_json header;
  header[kMetadata] = file.metadata;
  uint64_t end = 0;
  for (const StateTensor* tensor : tensors) {
    const uint64_t begin = std::exchange(end, end + BytesOf(*tensor).size());
    header[tensor->name] = {{"dtype", tensor->int64_values.empty() ? "F32" : "I64"},
                            {"shape", tensor->shape},
                            {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  bytes.reserve(bytes.size() + text.size() + end);
  bytes += text;
  for (const StateTensor* tensor : tensors) absl::StrAppend(&bytes, BytesOf(*tensor));
  return bytes;
}

absl::StatusOr<Safetensors> FromSafetensors(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const absl::string_view header, HeaderOf(bytes));
  json root;
  RETURN_IF_ERROR(ParseHeader(header, &root));
  const absl::string_view data = bytes.substr(sizeof(uint64_t) + header.size());
  Safetensors file;
  std::vector<Entry> entries;
  for (const auto& [name, value] : root.items()) {
    if (name == kMetadata) {
      ASSIGN_OR_RETURN(file.metadata, ToMetadata(value));
    } else {
      ASSIGN_OR_RETURN(entries.emplace_back(), ToEntry(name, value));
    }
  }
  RETURN_IF_ERROR(CheckCover(entries, data.size()));
  for (Entry& entry : entries) file.tensors.push_back(ToTensor(std::move(entry), data));
  return file;
}

}  // namespace lazynorm
