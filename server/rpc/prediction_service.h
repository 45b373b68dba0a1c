#ifndef LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_
#define LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_

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
  // All must outlive this, and this the transport's calls.
  PredictionService(Registry& registry, Transport& transport, Executor& executor,
                    const RequestLimits& limits)
      : registry_(registry), transport_(transport), executor_(executor), limits_(limits) {}

  // Adds all methods to the transport.
  void Register();

  void Predict(PredictJob job);
  void Evaluate(UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call);

  Registry& registry() const { return registry_; }
  const RequestLimits& limits() const { return limits_; }

  // Runs `work` here, or on the executor if predicting that many rows takes long.
  void RunByCost(const Plan& plan, int64_t rows, absl::AnyInvocable<void()> work);

 private:
  using ModelAndStatus = absl::StatusOr<std::shared_ptr<HostedModel>>;

  void Reached(std::shared_ptr<HostedModel> model, ConstMatrixView x, PredictJob job);
  void Answer(const std::shared_ptr<HostedModel>& model, const Plan& plan, ConstMatrixView x,
              PredictJob job);
  void Remember(const std::shared_ptr<HostedModel>& model, ConstMatrixView x, Matrix served,
                PredictJob job);

  Registry& registry_;
  Transport& transport_;
  Executor& executor_;
  const RequestLimits limits_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_
