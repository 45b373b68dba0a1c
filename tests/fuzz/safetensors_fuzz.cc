// A file to import: what is accepted is written again and read back, and becomes a model if it has
// a spec with it.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "model/learner.h"
#include "server/convert/spec.h"
#include "server/formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {
namespace {

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), 4 * a.size()) == 0);
}

void CheckRoundTrip(const Safetensors& file) {
  const auto again = FromSafetensors(ToSafetensors(file));
  Require(again.ok(), again.status().ToString());
  Require(again->metadata == file.metadata, "metadata are read back");
  Require(again->tensors.size() == file.tensors.size(), "tensors are read back");
  for (const StateTensor& tensor : file.tensors) {
    const auto found = std::find_if(again->tensors.begin(), again->tensors.end(),
                                    [&](const StateTensor& t) { return t.name == tensor.name; });
    Require(found != again->tensors.end() && found->shape == tensor.shape &&
                SameBits(found->values, tensor.values) &&
                found->int64_values == tensor.int64_values,
            "a tensor is read back");
  }
}

}  // namespace

FUZZ(bytes) {
  const auto file = FromSafetensors(bytes);
  if (!Accepted(file)) return;
  CheckRoundTrip(*file);
  const auto text = file->metadata.find("lazynorm_spec");
  if (text == file->metadata.end()) return;
  const auto spec = SpecFromJson(text->second);
  if (!Accepted(spec)) return;
  const auto learner = Learner::Create(*spec, kLimits, file->tensors);
  if (Accepted(learner) && !(*learner)->lazy()) {
    Require((*learner)->MakePlan() != nullptr, "what is imported predicts");
  }
}

}  // namespace lazynorm::fuzz
