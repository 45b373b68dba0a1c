#ifndef LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_
#define LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "model/batch.h"
#include "model/evaluate.h"
#include "model/plan.h"
#include "server/base/executor.h"
#include "server/convert/api.h"
#include "server/hosting/registry.h"
#include "server/rpc/step_wait.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// One Predict on its way. `request` and `response` live until `done`.
struct PredictJob {
  const v1::PredictRequest* request = nullptr;
  v1::PredictResponse* response = nullptr;
  absl::Time deadline;
  // Told of a wait for min_step, so that it can be cancelled.
  absl::AnyInvocable<void(std::shared_ptr<StepWait>)> on_wait;
  absl::AnyInvocable<void(absl::Status)> done;
  // Of the request, once they are checked.
  std::vector<absl::string_view> prediction_ids = {};
};

// lazynorm.v1.PredictionService. A small prediction runs where its request was read, a large one on
// an executor; neither takes a lock that training holds. What is to be remembered is answered after
// a turn of the model's trainer. Thread-safe.
class PredictionService {
 public:
  // All must outlive this, and this the transport's calls. `max_queued_values`: numbers in all the
  // large requests that may wait together.
  PredictionService(Registry& registry, Transport& transport, Executor& executor,
                    const RequestLimits& limits, int64_t max_queued_values)
      : registry_(registry),
        transport_(transport),
        executor_(executor),
        limits_(limits),
        max_queued_values_(max_queued_values) {}

  // Adds all methods to the transport.
  void Register();

  void Predict(PredictJob job);
  void Evaluate(UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call);

  Registry& registry() const { return registry_; }
  const RequestLimits& limits() const { return limits_; }

  // Runs `work` here, or on the executor if predicting that many rows takes long.
  void RunByCost(const Plan& plan, int64_t rows, absl::AnyInvocable<void()> work);

  // Plan::Predict, its rows spread over the executor's threads if they are many.
  void PredictRows(const Plan& plan, ConstMatrixView x, MatrixView y);

 private:
  using ModelAndStatus = absl::StatusOr<std::shared_ptr<HostedModel>>;

  void Reached(std::shared_ptr<HostedModel> model, ConstMatrixView x, PredictJob job);
  // Leaves the raw predictions in `raw` too, unless it is null.
  absl::Status PredictInto(const Plan& plan, ConstMatrixView x, v1::Output output,
                           v1::PredictResponse* response, Matrix* raw);
  // For a turn on the executor: RESOURCE_EXHAUSTED, reason QUEUE_FULL, where that is too much.
  absl::Status Queue(int64_t values);
  void Answer(const std::shared_ptr<HostedModel>& model, const Plan& plan, ConstMatrixView x,
              PredictJob job);
  void Remember(const std::shared_ptr<HostedModel>& model, ConstMatrixView x, Matrix served,
                PredictJob job);

  Registry& registry_;
  Transport& transport_;
  Executor& executor_;
  const RequestLimits limits_;
  const int64_t max_queued_values_;
  std::atomic<int64_t> queued_values_ = 0;  // of requests that wait for the executor, or are there
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_
