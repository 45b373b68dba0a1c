#include "tests/fault/oracle.h"

#include <algorithm>

#include "model/learner.h"
#include "server/convert/api.h"
#include "server/convert/spec.h"

namespace lazynorm {

v1::ModelSpec TrialSpec() {
  v1::ModelSpec spec;
  spec.mutable_mlp()->add_hidden(8);
  spec.mutable_mlp()->set_normalize_input(true);
  spec.mutable_learning()->set_normalize_targets(true);
  v1::Expert* replaying = spec.mutable_learning()->add_experts();
  replaying->mutable_replay()->set_capacity(100);
  replaying->mutable_replay()->set_rows_per_step(8);
  spec.mutable_learning()->add_experts();
  return spec;
}

v1::TrainRequest TrialRequest(const std::string& model, const std::string& id,
                              std::mt19937_64& random) {
  constexpr int kRows = 4, kColumns = 5;
  std::normal_distribution<float> normal;
  v1::TrainRequest request;
  request.set_model(model);
  request.set_request_id(id);
  request.mutable_features()->set_rows(kRows);
  request.mutable_features()->set_columns(kColumns);
  request.mutable_targets()->set_rows(kRows);
  request.mutable_targets()->set_columns(1);
  for (int i = 0; i < kRows * kColumns; ++i) request.mutable_features()->add_values(normal(random));
  for (int i = 0; i < kRows; ++i) request.mutable_targets()->add_values(normal(random));
  return request;
}

void Findings::Add(const Findings& other) {
  steps += other.steps;
  lost += other.lost;
  twice += other.twice;
  different += other.different;
}

Findings HoldAgainstOracle(std::vector<Step> steps, const v1::GetModelStateResponse& state) {
  std::sort(steps.begin(), steps.end(),
            [](const Step& a, const Step& b) { return a.answer.step() < b.answer.step(); });
  const auto learner = *Learner::Create(*FromProto(TrialSpec()), Limits());
  Findings found;
  int64_t last = 0;
  for (const Step& step : steps) {
    if (step.answer.step() == last) ++found.twice;
    if (step.answer.step() > last + 1) found.lost += step.answer.step() - last - 1;
    last = step.answer.step();
    const auto result = learner->Apply(*ToCommand(step.request, RequestLimits()));
    const bool same = result.ok() && result->loss == step.answer.loss() &&
                      result->prequential_loss == step.answer.prequential_loss();
    if (!same) ++found.different;
  }
  found.steps = last;
  found.twice += std::max<int64_t>(0, state.step() - last);
  found.lost += std::max<int64_t>(0, last - state.step());
  v1::GetModelStateResponse mine;
  ToProto(learner->Tensors(), mine.mutable_tensors());
  mine.set_step(learner->step());
  if (mine.SerializeAsString() != state.SerializeAsString()) ++found.different;
  return found;
}

}  // namespace lazynorm
