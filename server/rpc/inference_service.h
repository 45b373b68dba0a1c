#ifndef LAZYNORM_SERVER_RPC_INFERENCE_SERVICE_H_
#define LAZYNORM_SERVER_RPC_INFERENCE_SERVICE_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "inference/inference_service.grpc.pb.h"
#include "server/convert/api.h"
#include "server/hosting/registry.h"
#include "server/rpc/predictor.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// inference.GRPCInferenceService, the Open Inference Protocol: each model has one version, its
// step. MODEL_NOT_FOUND for a version that is not the present step, too. Thread-safe.
class InferenceService {
 public:
  // All must outlive this, and this the transport's calls. `version` is the server's; `ready` says
  // whether it serves and means to go on.
  InferenceService(Registry& registry, Transport& transport, Predictor& predictor,
                   const RequestLimits& limits, std::string version, std::function<bool()> ready)
      : registry_(registry),
        transport_(transport),
        predictor_(predictor),
        limits_(limits),
        version_(std::move(version)),
        ready_(std::move(ready)) {}

  // Adds all methods to the transport.
  void Register();

  bool ready() const { return ready_(); }
  absl::Status ModelReady(const inference::ModelReadyRequest& request,
                          inference::ModelReadyResponse* response) const;
  absl::Status ServerMetadata(const inference::ServerMetadataRequest& request,
                              inference::ServerMetadataResponse* response) const;
  absl::Status ModelMetadata(const inference::ModelMetadataRequest& request,
                             inference::ModelMetadataResponse* response) const;
  absl::Status ModelConfig(const inference::ModelConfigRequest& request,
                           inference::ModelConfigResponse* response) const;
  // Of the models that `call` may see.
  absl::Status ModelStatistics(const Call& call, const inference::ModelStatisticsRequest& request,
                               inference::ModelStatisticsResponse* response) const;
  absl::Status RepositoryIndex(const Call& call, const inference::RepositoryIndexRequest& request,
                               inference::RepositoryIndexResponse* response) const;
  absl::Status RepositoryModelLoad(const inference::RepositoryModelLoadRequest& request,
                                   inference::RepositoryModelLoadResponse* response) const;

  // Both messages live until job.done; of the job, what the call knows is there already.
  void Infer(const inference::ModelInferRequest& request, inference::ModelInferResponse* response,
             PredictJob job);

 private:
  using ModelAndStatus = absl::StatusOr<std::shared_ptr<HostedModel>>;

  void RegisterDescriptions(inference::GRPCInferenceService::AsyncService* service);
  void RegisterRepository(inference::GRPCInferenceService::AsyncService* service);
  ModelAndStatus Find(const std::string& name, const std::string& version) const;
  absl::Status Prepare(const inference::ModelInferRequest& request,
                       inference::ModelInferResponse* response, PredictJob& job) const;

  Registry& registry_;
  Transport& transport_;
  Predictor& predictor_;
  const RequestLimits limits_;
  const std::string version_;
  const std::function<bool()> ready_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_INFERENCE_SERVICE_H_
