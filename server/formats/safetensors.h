#ifndef LAZYNORM_SERVER_FORMATS_SAFETENSORS_H_
#define LAZYNORM_SERVER_FORMATS_SAFETENSORS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/network.h"

namespace lazynorm {

// What a safetensors file holds: eight bytes that say how long the header is, the header in JSON,
// the numbers. https://github.com/huggingface/safetensors
struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::vector<StateTensor> tensors;  // values as F32, counters (int64_values) as I64
};

// Counters come first, so that all numbers are aligned.
std::string ToSafetensors(const Safetensors& file);

// Takes nothing in `bytes` for granted. INVALID_STATE, naming the tensor at fault, for anything but
// tensors of F32 or I64 that cover the data without hole or overlap, each name once.
absl::StatusOr<Safetensors> FromSafetensors(absl::string_view bytes);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_FORMATS_SAFETENSORS_H_
