#ifndef LAZYNORM_SERVER_RPC_TRAINING_SERVICE_H_
#define LAZYNORM_SERVER_RPC_TRAINING_SERVICE_H_

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "server/convert/api.h"
#include "server/hosting/registry.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// lazynorm.v1.TrainingService. A step runs on the model's trainer, never where its request was
// read. Thread-safe.
class TrainingService {
 public:
  // All must outlive this, and this the transport's calls.
  TrainingService(Registry& registry, Transport& transport, const RequestLimits& limits)
      : registry_(registry), transport_(transport), limits_(limits) {}

  // Adds all methods to the transport.
  void Register();

  // Trains on `request`, which must live until `done`, after those of `chain` before it.
  void Train(const v1::TrainRequest& request, std::shared_ptr<CommandChain> chain,
             absl::AnyInvocable<void(absl::StatusOr<v1::TrainResponse>)> done);

 private:
  Registry& registry_;
  Transport& transport_;
  const RequestLimits limits_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TRAINING_SERVICE_H_
