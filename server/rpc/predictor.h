#ifndef LAZYNORM_SERVER_RPC_PREDICTOR_H_
#define LAZYNORM_SERVER_RPC_PREDICTOR_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/matrix.h"
#include "model/plan.h"
#include "server/base/executor.h"
#include "server/hosting/hosted_model.h"
#include "server/hosting/registry.h"
#include "server/rpc/call.h"
#include "server/rpc/forwarder.h"
#include "server/rpc/step_wait.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// One prediction on its way, whatever protocol asked for it. All that it points to lives until
// `done`, which is called once.
struct PredictJob {
  std::shared_ptr<HostedModel> model;
  ConstMatrixView x;
  int64_t min_step = 0;
  absl::Time begin = absl::Now();  // when it came
  absl::Time deadline = absl::InfiniteFuture();
  // Predicts x into the answer, and into `raw` too as the network puts it out, unless that is null.
  absl::AnyInvocable<absl::Status(const Plan& plan, ConstMatrixView x, Matrix* raw)> answer;
  // Told of a wait for min_step, so that it can be cancelled. May be null.
  absl::AnyInvocable<void(std::shared_ptr<StepWait>)> on_wait;
  absl::AnyInvocable<void(absl::Status)> done;
  // One a row to be remembered; empty for none. See ToPredictionIds.
  std::vector<absl::string_view> prediction_ids = {};
  // The call, or the stream, that it is part of; null for nobody's.
  const Call* call = nullptr;
};

// What a unary call gives its job: deadline, on_wait and done.
template <class Request, class Response>
PredictJob JobOf(UnaryCall<Request, Response>& call) {
  return {
      .deadline = call.deadline(),
      .on_wait =
          [&call](std::shared_ptr<StepWait> wait) { call.OnCancel([wait] { wait->Cancel(); }); },
      .done = [&call](absl::Status status) { call.Finish(std::move(status)); },
      .call = &call};
}

// The road of every prediction: wait for a step, resolve a lazy model, compute, remember, count. A
// small prediction runs where its request was read, a large one on an executor; neither takes a
// lock that training holds. What is to be remembered is answered after a turn of the model's
// trainer. Thread-safe.
class Predictor {
 public:
  // All must outlive this. `max_queued_values`: numbers in all the large requests that may wait
  // together.
  Predictor(Registry& registry, Transport& transport, Forwarder& forwarder, Executor& executor,
            int64_t max_queued_values)
      : registry_(registry),
        transport_(transport),
        forwarder_(forwarder),
        executor_(executor),
        max_queued_values_(max_queued_values) {}

  // QUEUE_FULL, STEP_NOT_REACHED, MODEL_NOT_FOUND, WIDTH_MISMATCH, TOO_FEW_ROWS, DEADLINE_EXCEEDED,
  // or what `answer` returns.
  void Run(PredictJob job);
  // Ends a job with an error and counts it, if it has a model.
  static void Fail(PredictJob job, absl::Status status);

  // HostedModel::WithPlan, wherever the model is written; `call` as in PredictJob.
  void WithPlan(const Call* call, const std::shared_ptr<HostedModel>& model, int columns,
                HostedModel::PlanDone done);

  // Runs `work` here, or on the executor if predicting that many rows takes long.
  void RunByCost(const Plan& plan, int64_t rows, absl::AnyInvocable<void()> work);

  // Plan::Predict, its rows spread over the executor's threads if they are many.
  void PredictRows(const Plan& plan, ConstMatrixView x, MatrixView y);

 private:
  // For a turn on the executor: RESOURCE_EXHAUSTED, reason QUEUE_FULL, where that is too much.
  absl::Status Queue(int64_t values);
  void RunOnceTold(int64_t step, PredictJob job);
  void RunOnceReached(PredictJob job);
  void Reached(PredictJob job);
  void Answer(const Plan& plan, PredictJob job);
  void Remember(PredictJob job, Matrix served, absl::Time compute);

  Registry& registry_;
  Transport& transport_;
  Forwarder& forwarder_;
  Executor& executor_;
  const int64_t max_queued_values_;
  std::atomic<int64_t> queued_values_ = 0;  // of requests that wait for the executor, or are there
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_PREDICTOR_H_
