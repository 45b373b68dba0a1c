#ifndef LAZYNORM_SERVER_RPC_MODEL_SERVICE_H_
#define LAZYNORM_SERVER_RPC_MODEL_SERVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "lazynorm/v1/model_service.grpc.pb.h"
#include "server/base/executor.h"
#include "server/hosting/registry.h"
#include "server/rpc/checkpoints.h"
#include "server/rpc/forwarder.h"
#include "server/rpc/transfer.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// lazynorm.v1.ModelService. Thread-safe.
class ModelService {
 public:
  // All must outlive this, and this the transport's calls. Models are made on the executor.
  // `scratch`: see Checkpoints; `version`, `max_import_bytes`: see Transfer.
  ModelService(Registry& registry, Transport& transport, Forwarder& forwarder, Executor& executor,
               std::string scratch, std::string version, int64_t max_import_bytes)
      : registry_(registry),
        transport_(transport),
        forwarder_(forwarder),
        executor_(executor),
        checkpoints_(registry, executor, std::move(scratch)),
        transfer_(registry, executor, std::move(version), max_import_bytes) {}

  // Adds all methods to the transport.
  void Register();

  absl::Status CreateModel(const v1::CreateModelRequest& request, v1::Model* response);
  absl::Status GetModel(const v1::GetModelRequest& request, v1::Model* response);
  void ListModels(UnaryCall<v1::ListModelsRequest, v1::ListModelsResponse>& call);
  void UpdateModel(UnaryCall<v1::UpdateModelRequest, v1::Model>& call);
  void GetModelState(UnaryCall<v1::GetModelStateRequest, v1::GetModelStateResponse>& call);
  void CopyModel(UnaryCall<v1::CopyModelRequest, v1::Model>& call);
  void WatchModel(std::shared_ptr<ServerStream<v1::WatchModelRequest, v1::ModelStatus>> stream);

 private:
  // Adds a method that is answered by the replica which writes the model of its request.
  template <class Request, class Response, class Base>
  void AddChange(v1::ModelService::AsyncService* service,
                 void (Base::*request)(grpc::ServerContext*, Request*,
                                       grpc::ServerAsyncResponseWriter<Response>*,
                                       grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
                 const char* method, bool repeatable,
                 std::type_identity_t<std::function<void(UnaryCall<Request, Response>&)>> handler);
  void RegisterCheckpoints(v1::ModelService::AsyncService* service);
  void RegisterTransfer(v1::ModelService::AsyncService* service);
  // Finishes the call with the model as it is when the command has taken effect.
  template <class Request>
  void Change(UnaryCall<Request, v1::Model>& call, absl::StatusOr<Command> command);

  Registry& registry_;
  Transport& transport_;
  Forwarder& forwarder_;
  Executor& executor_;
  Checkpoints checkpoints_;
  Transfer transfer_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_MODEL_SERVICE_H_
