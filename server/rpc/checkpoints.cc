#include "server/rpc/checkpoints.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/hosting/hosted_model.h"

namespace lazynorm {
namespace {

constexpr size_t kMostLabel = 256;
constexpr size_t kPiece = size_t{1} << 20;

void ToProto(const CheckpointInfo& info, v1::Checkpoint* proto) {
  proto->set_checkpoint_id(info.id);
  proto->set_label(info.label);
  proto->set_step(info.at.step);
  const int64_t micros = absl::ToUnixMicros(info.create_time);
  proto->mutable_create_time()->set_seconds(micros / 1'000'000);
  proto->mutable_create_time()->set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
  proto->set_size_bytes(info.bytes);
}

using BackupStream = ServerStream<v1::BackupRequest, v1::BackupResponse>;

// A copy of the store in a folder of its own, sent piece by piece as the caller takes them. The
// folder goes with this.
class BackupJob : public std::enable_shared_from_this<BackupJob> {
 public:
  BackupJob(std::shared_ptr<BackupStream> stream, Executor& executor, const std::string& scratch)
      : stream_(std::move(stream)), executor_(executor), folder_(scratch + "/backup.XXXXXX") {}

  ~BackupJob() {
    std::error_code ignored;
    if (made_) std::filesystem::remove_all(folder_, ignored);
  }

  absl::Status Copy(const Store& store) {
    made_ = mkdtemp(folder_.data()) != nullptr;
    if (!made_) return absl::InternalError(absl::StrCat("cannot make a folder like ", folder_));
    RETURN_IF_ERROR(store.Backup(folder_));
    file_.open(folder_ + "/lazynorm.db", std::ios::binary);
    std::error_code error;
    size_ = static_cast<int64_t>(std::filesystem::file_size(folder_ + "/lazynorm.db", error));
    if (file_.good() && !error) return absl::OkStatus();
    return absl::InternalError("the copy cannot be read");
  }

  void SendNext() {
    v1::BackupResponse response;
    std::string* data = response.mutable_data();
    data->resize(kPiece);
    file_.read(data->data(), kPiece);
    data->resize(file_.gcount());
    if (data->empty()) return stream_->Finish(absl::OkStatus());
    response.set_size_bytes(size_);
    stream_->Write(std::move(response), [self = shared_from_this()] {
      self->executor_.Run([self] { self->SendNext(); });
    });
  }

 private:
  const std::shared_ptr<BackupStream> stream_;
  Executor& executor_;
  std::string folder_;
  bool made_ = false;
  std::ifstream file_;
  int64_t size_ = 0;
};

}  // namespace

void Checkpoints::Create(UnaryCall<v1::CreateCheckpointRequest, v1::Checkpoint>& call) {
  const auto model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  const std::string& label = call.request().label();
  if (label.size() > kMostLabel) {
    return call.Finish(LimitExceeded(
        "label", absl::StrCat("expected at most ", kMostLabel, " bytes, got ", label.size())));
  }
  (*model)->CreateCheckpoint(label, [&call](absl::StatusOr<CheckpointInfo> info) {
    if (info.ok()) ToProto(*info, call.response());
    call.Finish(info.status());
  });
}

absl::Status Checkpoints::List(const v1::ListCheckpointsRequest& request,
                               v1::ListCheckpointsResponse* response) {
  ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> all,
                   registry_.store().Checkpoints(request.model()));
  for (const CheckpointInfo& info : all) ToProto(info, response->add_checkpoints());
  return absl::OkStatus();
}

absl::Status Checkpoints::Delete(const v1::DeleteCheckpointRequest& request) {
  return registry_.store().DeleteCheckpoint(request.model(), request.checkpoint_id());
}

absl::StatusOr<SavedModel> Checkpoints::Read(const v1::RestoreCheckpointRequest& request) const {
  if (request.has_step() == !request.checkpoint_id().empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_UPDATE", "checkpoint_id",
                     "expected either a checkpoint_id or a step");
  }
  if (request.has_step()) return registry_.ReadAt(request.model(), request.step());
  ASSIGN_OR_RETURN(const Snapshot snapshot,
                   registry_.store().ReadCheckpoint(request.model(), request.checkpoint_id()));
  return SavedModelFromBytes(snapshot.bytes);
}

void Checkpoints::Restore(UnaryCall<v1::RestoreCheckpointRequest, v1::Model>& call,
                          absl::AnyInvocable<void(std::shared_ptr<HostedModel>)> restored) {
  const auto model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  absl::StatusOr<SavedModel> read = Read(call.request());
  if (!read.ok()) return call.Finish(read.status());
  const auto saved = std::make_shared<SavedModel>(*std::move(read));
  // Whose shadow it is belongs to the present.
  saved->spec.learning.shadow_of = (*model)->view()->spec->learning.shadow_of;
  (*model)->Submit({.command = RestoreCommand{saved->spec, saved->learner},
                    .done =
                        [&call, saved, model = *model, restored = std::move(restored)](
                            absl::StatusOr<StepResult> result) mutable {
                          if (!result.ok()) return call.Finish(result.status());
                          restored(std::move(model));
                        },
                    .chain = nullptr});
}

void Checkpoints::Backup(std::shared_ptr<BackupStream> stream) {
  if (scratch_.empty()) {
    return stream->Finish(absl::UnimplementedError(
        "this server's store has no files to be backed up; a database is, by its own tools"));
  }
  const auto job = std::make_shared<BackupJob>(stream, executor_, scratch_);
  const absl::Status copied = job->Copy(registry_.store());
  if (!copied.ok()) return stream->Finish(copied);
  job->SendNext();
}

}  // namespace lazynorm
