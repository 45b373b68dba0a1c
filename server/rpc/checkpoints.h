#ifndef LAZYNORM_SERVER_RPC_CHECKPOINTS_H_
#define LAZYNORM_SERVER_RPC_CHECKPOINTS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "lazynorm/v1/model_service.pb.h"
#include "server/base/executor.h"
#include "server/hosting/registry.h"
#include "server/rpc/call.h"

namespace lazynorm {

// The part of lazynorm.v1.ModelService that keeps states and brings them back. All of it may wait
// for the disk: it runs on the executor. Thread-safe.
class Checkpoints {
 public:
  // Both must outlive this. `scratch` is a folder for what a backup needs for a while, "" where the
  // store has no files.
  Checkpoints(Registry& registry, Executor& executor, std::string scratch)
      : registry_(registry), executor_(executor), scratch_(std::move(scratch)) {}

  void Create(UnaryCall<v1::CreateCheckpointRequest, v1::Checkpoint>& call);
  absl::Status List(const v1::ListCheckpointsRequest& request,
                    v1::ListCheckpointsResponse* response);
  // `restored` answers once the model stands where it was asked to.
  void Restore(UnaryCall<v1::RestoreCheckpointRequest, v1::Model>& call,
               absl::AnyInvocable<void(std::shared_ptr<HostedModel>)> restored);
  absl::Status Delete(const v1::DeleteCheckpointRequest& request);
  void Backup(std::shared_ptr<ServerStream<v1::BackupRequest, v1::BackupResponse>> stream);

 private:
  absl::StatusOr<SavedModel> Read(const v1::RestoreCheckpointRequest& request) const;

  Registry& registry_;
  Executor& executor_;
  const std::string scratch_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_CHECKPOINTS_H_
