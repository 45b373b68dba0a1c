// Requests of the services, one behind the other on one model, as the server takes them: what is
// refused leaves no trace, what is kept in the journal leads back to the same state.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/evaluate.h"
#include "model/learner.h"
#include "model/loss.h"
#include "server/convert/api.h"
#include "server/convert/records.h"
#include "server/convert/spec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/session.pb.h"

namespace lazynorm::fuzz {
namespace {

constexpr int64_t kNow = 1'000'000;

class Model {
 public:
  explicit Model(std::unique_ptr<Learner> learner)
      : learner_(std::move(learner)), recovered_(learner_->Copy()), before_(learner_->Save()) {}

  void Do(const Call& call) {
    switch (call.kind_case()) {
      case Call::kTrain:
        return Train(call.train());
      case Call::kPredict:
        return Predict(call.predict());
      case Call::kEvaluate:
        return Evaluate(call.evaluate());
      case Call::kUpdate:
        return Update(call.update());
      case Call::kFreezeStatistics:
        return (void)Apply(FreezeStatisticsCommand{call.freeze_statistics()});
      case Call::kRestore:
        return (void)Apply(RestoreCommand{learner_->spec(), std::string(before_)});
      case Call::KIND_NOT_SET:
        return;
    }
  }

  // Once more from the bytes.
  void CheckRecovery() const {
    const std::string state = learner_->Save();
    Require(recovered_->Save() == state, "the journal leads to the same state");
    const auto loaded = Learner::Load(learner_->spec(), kLimits, state);
    Require(loaded.ok() && (*loaded)->Save() == state, "what is saved is loaded");
  }

 private:
  bool Apply(const Command& command) {
    const std::string state = learner_->Save();
    const auto result = learner_->Apply(command);
    if (!Accepted(result)) {
      Require(learner_->Save() == state, "a refused command leaves no trace");
      return false;
    }
    const auto stored = StoredCommand::FromBytes(ToBytes(command, {}));
    Require(stored.ok(), stored.status().ToString());
    Require(recovered_->Apply((*stored)->command()).ok(), "a command is repeated");
    return true;
  }

  void Train(const v1::TrainRequest& request) {
    auto command = ToCommand(request, kRequestLimits);
    if (!Accepted(command)) return;
    command->now = kNow;
    before_ = learner_->Save();
    if (!Apply(*command)) return;
    for (const StateTensor& tensor : learner_->Tensors()) {
      const auto n = static_cast<int64_t>(tensor.values.size());
      RequireFinite({tensor.values.data(), 1, n});
    }
  }

  std::shared_ptr<const Plan> PlanFor(ConstMatrixView x) {
    if (learner_->lazy() && !Apply(ResolveCommand{static_cast<int>(x.cols())})) return nullptr;
    auto plan = learner_->MakePlan();
    return Accepted(plan->Check(x)) ? plan : nullptr;
  }

  void Predict(const v1::PredictRequest& request) {
    const auto x = ToMatrix(request.features(), "features", kRequestLimits);
    if (!Accepted(x)) return;
    const auto ids = ToPredictionIds(request.prediction_ids(), x->rows());
    if (!Accepted(ids)) return;
    const auto plan = PlanFor(*x);
    if (plan == nullptr) return;
    Matrix y = *plan->Predict(*x);
    Require(y.rows() == x->rows() && y.cols() == learner_->out_features(), "a row for each row");
    if (!ids->empty()) {
      Apply(RememberCommand{.ids = *ids,
                            .features = *x,
                            .predictions = ViewOf(std::as_const(y)),
                            .now = kNow,
                            .expires = kNow + 1,
                            .max_rows = 64,
                            .max_bytes = 1 << 16});
    }
    const bool finite = y.allFinite();
    if (!Accepted(ToProbabilities(plan->loss(), ViewOf(y))) || !finite) return;
    Require((y.array() >= 0).all() && (y.array() <= 1).all(), "probabilities are from 0 to 1");
  }

  void Evaluate(const v1::EvaluateRequest& request) {
    const auto batch = ToBatch(request, kRequestLimits);
    if (!Accepted(batch)) return;
    const auto plan = PlanFor(batch->features);
    if (plan == nullptr) return;
    if (!Accepted(CheckTargets(plan->loss(), *batch, plan->out_features()))) return;
    Evaluator evaluator(plan->loss(), plan->out_features());
    const Matrix y = *plan->Predict(batch->features);
    evaluator.Add(ViewOf(y), *batch);
    Require(evaluator.Result().rows == batch->rows(), "every row is scored");
  }

  void Update(const v1::UpdateModelRequest& request) {
    const auto command = FromProto(request);
    if (!Accepted(command)) return;
    const auto trial = learner_->Copy();
    if (trial->Apply(*command).ok() && !IsCheap(trial->spec().learning)) return;
    Apply(*command);
  }

  std::unique_ptr<Learner> learner_, recovered_;
  std::string before_;
};

}  // namespace

FUZZ(bytes) {
  Session session;
  if (!Read(bytes, &session) || session.calls_size() > 20) return;
  auto spec = FromProto(session.create().spec());
  if (!Accepted(spec) || !Accepted(CheckModelId(session.create().model_id()))) return;
  if (!IsCheap(spec->learning)) return;
  auto learner =
      Learner::Create(*std::move(spec), kLimits, FromProto(session.create().initial_state()));
  if (!Accepted(learner)) return;
  Model model(*std::move(learner));
  for (const Call& call : session.calls()) model.Do(call);
  model.CheckRecovery();
}

}  // namespace lazynorm::fuzz
