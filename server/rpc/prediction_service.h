#ifndef LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_
#define LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_

#include "absl/status/status.h"
#include "lazynorm/v1/prediction_service.grpc.pb.h"
#include "server/convert/api.h"
#include "server/hosting/registry.h"
#include "server/rpc/forwarder.h"
#include "server/rpc/predictor.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// lazynorm.v1.PredictionService. Thread-safe.
class PredictionService {
 public:
  // All must outlive this, and this the transport's calls.
  PredictionService(Registry& registry, Transport& transport, Forwarder& forwarder,
                    Predictor& predictor, const RequestLimits& limits)
      : registry_(registry),
        transport_(transport),
        forwarder_(forwarder),
        predictor_(predictor),
        limits_(limits) {}

  // Adds all methods to the transport.
  void Register();

  // Both messages live until job.done; of the job, what the call knows is there already.
  void Predict(const v1::PredictRequest& request, v1::PredictResponse* response, PredictJob job);
  void Evaluate(UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call);

  Registry& registry() const { return registry_; }
  Forwarder& forwarder() const { return forwarder_; }
  Predictor& predictor() const { return predictor_; }
  const RequestLimits& limits() const { return limits_; }

 private:
  absl::Status Prepare(const v1::PredictRequest& request, PredictJob& job) const;

  Registry& registry_;
  Transport& transport_;
  Forwarder& forwarder_;
  Predictor& predictor_;
  const RequestLimits limits_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_PREDICTION_SERVICE_H_
