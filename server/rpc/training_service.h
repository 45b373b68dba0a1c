#ifndef LAZYNORM_SERVER_RPC_TRAINING_SERVICE_H_
#define LAZYNORM_SERVER_RPC_TRAINING_SERVICE_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "lazynorm/v1/training_service.grpc.pb.h"
#include "server/convert/api.h"
#include "server/hosting/registry.h"
#include "server/rpc/forwarder.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// lazynorm.v1.TrainingService. A step runs on the model's trainer, never where its request was
// read. Thread-safe.
class TrainingService {
 public:
  // All must outlive this, and this the transport's calls.
  TrainingService(Registry& registry, Transport& transport, Forwarder& forwarder,
                  const RequestLimits& limits)
      : registry_(registry), transport_(transport), forwarder_(forwarder), limits_(limits) {}

  // Adds all methods to the transport.
  void Register();

  using Done = absl::AnyInvocable<void(absl::StatusOr<v1::TrainResponse>)>;

  // Trains on `request`, which must live until `done`, after those of `chain` before it. NO_WRITER
  // where another replica writes the model.
  void Train(const v1::TrainRequest& request, std::shared_ptr<CommandChain> chain, Done done);
  // The same for one message of a stream that is trained on by the replica which writes the model.
  void TrainElsewhere(const Call& stream, const v1::TrainRequest& request,
                      std::shared_ptr<CommandChain> chain, Done done);

  const Forwarder& forwarder() const { return forwarder_; }

 private:
  void Train(UnaryCall<v1::TrainRequest, v1::TrainResponse>& call);
  // Another replica has answered: who predicts here from now on sees that step.
  void NoteStep(const std::string& model, const absl::StatusOr<v1::TrainResponse>& response);

  Registry& registry_;
  Transport& transport_;
  Forwarder& forwarder_;
  const RequestLimits limits_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TRAINING_SERVICE_H_
