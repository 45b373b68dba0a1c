// What Learner::Save wrote, after something happened to it: refused, or a learner that can be used.
// The first byte says whose state it is.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/learner.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {
namespace {

ModelSpec SpecOf(uint8_t kind) {
  ModelSpec spec{.layers = {LinearSpec{.out_features = 2}, BatchNormSpec{}, ActivationSpec{},
                            LinearSpec{.out_features = 1}}};
  if (kind & 1) spec.learning.normalize_targets = true;
  if (kind & 2) spec.learning.experts = {{.replay = {4, 2}}, {.learning_rate = 0.1}};
  if (kind & 4) spec.loss.kind = LossKind::kBceWithLogits, spec.learning.normalize_targets = false;
  if (kind & 8) spec.optimizer = SgdSpec{.momentum = 0.9};
  return spec;
}

void Use(Learner& learner) {
  const Matrix x = Matrix::Ones(3, 2), y = Matrix::Ones(3, 1);
  const Batch batch{
      .features = ViewOf(x), .targets = ViewOf(y), .labels = {}, .sample_weights = {}};
  const TrainCommand train{.batch = batch, .request_id = "a"};
  for (int i = 0; i < 2; ++i) (void)learner.Apply(train);
  (void)learner.Apply(TrainCommand{.batch = batch});
  if (const auto plan = learner.MakePlan()) Accepted(plan->Predict(ViewOf(x)));
  (void)learner.Apply(RememberCommand{.ids = {"a"},
                                      .features = ViewOf(x).first(1),
                                      .predictions = ViewOf(y).first(1),
                                      .expires = 1,
                                      .max_rows = 2,
                                      .max_bytes = 1000});
  (void)learner.Apply(
      TrainCommand{.batch = {.targets = batch.targets.first(1)}, .prediction_ids = {"a"}});
  (void)learner.Tensors();
}

}  // namespace

FUZZ(bytes) {
  if (bytes.empty()) return;
  const ModelSpec spec = SpecOf(static_cast<uint8_t>(bytes[0]));
  bytes.remove_prefix(1);
  const auto learner = Learner::Load(spec, kLimits, bytes);
  if (!Accepted(learner)) return;
  const std::string state = (*learner)->Save();
  const auto again = Learner::Load(spec, kLimits, state);
  Require(again.ok() && (*again)->Save() == state, "what is loaded is saved and loaded");
  Use(**learner);
}

}  // namespace lazynorm::fuzz
