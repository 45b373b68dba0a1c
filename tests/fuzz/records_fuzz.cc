// What the store gives back: a command, or a saved model. It is under checksums; this is how bytes
// of another version, or of a hand at work, are met.
#include <memory>
#include <string>
#include <utility>

#include "model/learner.h"
#include "server/convert/records.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {
namespace {

std::unique_ptr<Learner> Small() {
  auto learner = Learner::Create(
      {.layers = {LinearSpec{.out_features = 2}, BatchNormSpec{}, LinearSpec{.out_features = 1}},
       .in_features = 2},
      kLimits);
  return *std::move(learner);
}

void Repeat(const StoredCommand& stored) {
  const auto again = StoredCommand::FromBytes(ToBytes(stored.command(), stored.trace()));
  Require(again.ok(), again.status().ToString());
  const auto learner = Small(), other = learner->Copy();
  const auto* update = std::get_if<UpdateCommand>(&stored.command());
  if (update != nullptr && update->updates_per_request.value_or(1) > 20) return;
  const auto result = learner->Apply(stored.command());
  if (Accepted(result)) {
    Require(other->Apply((*again)->command()).ok(), "a command is repeated");
    Require(other->StateHash() == learner->StateHash(), "and does the same");
  }
}

void Load(SavedModel model) {
  const auto learner = Learner::Load(model.spec, kLimits, model.learner);
  if (!Accepted(learner)) return;
  model.learner = (*learner)->Save();
  const std::string bytes = ToBytes(std::move(model));
  const auto again = SavedModelFromBytes(bytes);
  Require(again.ok() && ToBytes(*again) == bytes, "a saved model is read back");
}

}  // namespace

FUZZ(bytes) {
  std::string wire(bytes);
  if (store::v1::Command text; Read(bytes, &text)) text.SerializeToString(&wire);
  if (const auto stored = StoredCommand::FromBytes(wire); Accepted(stored)) Repeat(**stored);
  if (store::v1::SavedModel text; Read(bytes, &text)) text.SerializeToString(&wire);
  if (auto model = SavedModelFromBytes(wire); Accepted(model)) Load(*std::move(model));
}

}  // namespace lazynorm::fuzz
