#include "server/rpc/model_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/convert/api.h"
#include "server/convert/spec.h"
#include "server/hosting/hosted_model.h"

namespace lazynorm {
namespace {

constexpr char kService[] = "lazynorm.v1.ModelService";
constexpr int kDefaultPage = 100;
constexpr int kLargestPage = 1000;
// A page token is this and the last id of the page, in URL-safe base 64.
constexpr char kTokenPrefix[] = "after:";

using WatchStream = ServerStream<v1::WatchModelRequest, v1::ModelStatus>;

void ToProto(absl::Time time, google::protobuf::Timestamp* proto) {
  const int64_t nanos = absl::ToUnixNanos(time);
  proto->set_seconds(nanos / 1'000'000'000);
  proto->set_nanos(static_cast<int>(nanos % 1'000'000'000));
}

void Describe(const HostedModel& model, v1::Model* proto) {
  const std::shared_ptr<const ModelView> view = model.view();
  proto->set_model_id(model.id());
  *proto->mutable_spec() = ToProto(*view->spec);
  proto->set_state(view->plan == nullptr ? v1::STATE_LAZY : v1::STATE_READY);
  proto->set_step(view->step);
  proto->set_rows_trained(view->rows_trained);
  proto->set_in_features(view->in_features);
  proto->set_out_features(view->out_features);
  proto->set_parameter_count(view->parameter_count);
  proto->set_statistics_frozen(view->statistics_frozen);
  ToProto(view->create_time, proto->mutable_create_time());
  ToProto(view->update_time, proto->mutable_update_time());
}

absl::StatusOr<std::string> FromToken(const std::string& token) {
  std::string text;
  absl::string_view id;
  if (absl::WebSafeBase64Unescape(token, &text)) id = text;
  if (token.empty() || (absl::ConsumePrefix(&id, kTokenPrefix) && CheckModelId(id).ok())) {
    return std::string(id);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_ID", "page_token",
                   "expected the next_page_token of an earlier ListModels");
}

std::string ToToken(const std::string& id) {
  return absl::WebSafeBase64Escape(absl::StrCat(kTokenPrefix, id));
}

// Up to `most` models after an id that the caller may see.
std::vector<std::shared_ptr<HostedModel>> ListVisible(const Registry& registry, std::string after,
                                                      int most, const Call& call) {
  std::vector<std::shared_ptr<HostedModel>> visible;
  for (;;) {
    const auto models = registry.List(after, most);
    for (const auto& model : models) {
      if (static_cast<int>(visible.size()) == most) return visible;
      if (call.MayUse(model->id())) visible.push_back(model);
    }
    if (static_cast<int>(models.size()) < most) return visible;
    after = models.back()->id();
  }
}

absl::StatusOr<absl::Duration> WatchInterval(const v1::WatchModelRequest& request) {
  if (!request.has_min_interval()) return absl::Seconds(1);
  const auto& given = request.min_interval();
  const absl::Duration interval = absl::Seconds(given.seconds()) + absl::Nanoseconds(given.nanos());
  if (interval >= absl::ZeroDuration()) return std::max(interval, absl::Milliseconds(10));
  return MakeError(absl::StatusCode::kInvalidArgument, "LIMIT_EXCEEDED", "min_interval",
                   absl::StrCat("expected at least 0, got ", absl::FormatDuration(interval)));
}

// How long a watch may take to see that its model or its caller is gone.
constexpr absl::Duration kWatchLook = absl::Seconds(1);

// Sends a model's status whenever it has changed, at most once an interval.
class Watch : public std::enable_shared_from_this<Watch> {
 public:
  Watch(Transport& transport, std::shared_ptr<HostedModel> model,
        std::shared_ptr<WatchStream> stream, absl::Duration interval)
      : transport_(transport),
        model_(std::move(model)),
        stream_(std::move(stream)),
        interval_(interval) {}

  void Tick() {
    if (stream_->cancelled()) return;
    if (model_->deleted()) return stream_->Finish(ModelNotFound(model_->id()));
    const absl::Time now = absl::Now();
    const std::shared_ptr<const ModelView> view = model_->view();
    const bool due = sent_ == nullptr || (now >= sent_at_ + interval_ && Changed(*sent_, *view));
    if (due) Send(view, now);
    const absl::Duration look = std::min(interval_, kWatchLook);
    // A transport that shuts down drops the timer, and with it the watch.
    transport_.RunAt(now + look, [self = shared_from_this()] { self->Tick(); });
  }

 private:
  static bool Changed(const ModelView& a, const ModelView& b) {
    return a.step != b.step || a.statistics_frozen != b.statistics_frozen ||
           a.remembered_predictions != b.remembered_predictions;
  }

  void Send(std::shared_ptr<const ModelView> view, absl::Time now) {
    v1::ModelStatus status;
    status.set_model(model_->id());
    status.set_step(view->step);
    status.set_rows_trained(view->rows_trained);
    status.set_train_loss(view->train_loss);
    status.set_prequential_loss(view->prequential_loss);
    if (sent_ != nullptr) {
      const double seconds = absl::ToDoubleSeconds(now - sent_at_);
      const double rows = static_cast<double>(view->rows_trained - sent_->rows_trained);
      status.set_rows_per_second(seconds > 0 ? rows / seconds : 0);
    }
    status.mutable_batch_norm_shift()->Assign(view->batch_norm_shift.begin(),
                                              view->batch_norm_shift.end());
    status.set_statistics_frozen(view->statistics_frozen);
    status.set_gradient_norm(view->gradient_norm);
    status.set_parameter_norm(view->parameter_norm);
    status.mutable_expert_weights()->Assign(view->expert_weights.begin(),
                                            view->expert_weights.end());
    status.set_drifts(view->drifts);
    status.set_last_drift_step(view->last_drift_step);
    status.set_remembered_predictions(view->remembered_predictions);
    sent_ = std::move(view);
    sent_at_ = now;
    stream_->WriteLatest(std::move(status));
  }

  Transport& transport_;
  const std::shared_ptr<HostedModel> model_;
  const std::shared_ptr<WatchStream> stream_;
  const absl::Duration interval_;
  std::shared_ptr<const ModelView> sent_;  // one tick at a time
  absl::Time sent_at_;
};

}  // namespace

template <class Request, class Response, class Base>
void ModelService::AddChange(
    v1::ModelService::AsyncService* service,
    void (Base::*request)(grpc::ServerContext*, Request*,
                          grpc::ServerAsyncResponseWriter<Response>*, grpc::CompletionQueue*,
                          grpc::ServerCompletionQueue*, void*),
    const char* method, bool repeatable,
    std::type_identity_t<std::function<void(UnaryCall<Request, Response>&)>> handler) {
  const Route route = {kService, method, /*at_writer=*/true, repeatable};
  transport_.AddUnary(service, request, kService, method,
                      [this, route, handler = std::move(handler)](auto& call) {
                        forwarder_.Run(call, route, [&handler, &call] { handler(call); });
                      });
}

void ModelService::Register() {
  using Async = v1::ModelService::AsyncService;
  auto* service = transport_.AddService(std::make_unique<Async>());
  transport_.AddUnary(
      service, &Async::RequestCreateModel, kService, "CreateModel",
      [this](UnaryCall<v1::CreateModelRequest, v1::Model>& call) {
        executor_.Run([this, &call] { call.Finish(CreateModel(call.request(), call.response())); });
      });
  transport_.AddUnary(
      service, &Async::RequestGetModel, kService, "GetModel",
      [this](UnaryCall<v1::GetModelRequest, v1::Model>& call) {
        forwarder_.Run(call, {kService, "GetModel", /*at_writer=*/false, /*repeatable=*/true},
                       [this, &call] { call.Finish(GetModel(call.request(), call.response())); });
      });
  transport_.AddUnary(
      service, &Async::RequestListModels, kService, "ListModels",
      [this](UnaryCall<v1::ListModelsRequest, v1::ListModelsResponse>& call) { ListModels(call); });
  AddChange(service, &Async::RequestDeleteModel, "DeleteModel", false, [this](auto& call) {
    executor_.Run([this, &call] { call.Finish(registry_.Delete(call.request().model())); });
  });
  AddChange(service, &Async::RequestUpdateModel, "UpdateModel", true,
            [this](auto& call) { UpdateModel(call); });
  AddChange(service, &Async::RequestGetModelState, "GetModelState", true,
            [this](auto& call) { GetModelState(call); });
  AddChange(service, &Async::RequestFreezeStatistics, "FreezeStatistics", true,
            [this](auto& call) { Change(call, FreezeStatisticsCommand{true}); });
  AddChange(service, &Async::RequestUnfreezeStatistics, "UnfreezeStatistics", true,
            [this](auto& call) { Change(call, FreezeStatisticsCommand{false}); });
  AddChange(service, &Async::RequestCopyModel, "CopyModel", false,
            [this](auto& call) { CopyModel(call); });
  RegisterCheckpoints(service);
  RegisterTransfer(service);
  transport_.AddServerStream(
      service, &Async::RequestWatchModel, kService, "WatchModel",
      [this](std::shared_ptr<WatchStream> stream) { WatchModel(std::move(stream)); });
}

void ModelService::RegisterCheckpoints(v1::ModelService::AsyncService* service) {
  using Async = v1::ModelService::AsyncService;
  AddChange(service, &Async::RequestCreateCheckpoint, "CreateCheckpoint", false,
            [this](auto& call) { checkpoints_.Create(call); });
  transport_.AddUnary(
      service, &Async::RequestListCheckpoints, kService, "ListCheckpoints",
      [this](UnaryCall<v1::ListCheckpointsRequest, v1::ListCheckpointsResponse>& call) {
        const auto model = registry_.Find(call.request().model());
        call.Finish(model.ok() ? checkpoints_.List(call.request(), call.response())
                               : model.status());
      });
  AddChange(service, &Async::RequestRestoreCheckpoint, "RestoreCheckpoint", false,
            [this](auto& call) {
              executor_.Run([this, &call] {
                checkpoints_.Restore(call, [&call](const std::shared_ptr<HostedModel>& model) {
                  Describe(*model, call.response());
                  call.Finish(absl::OkStatus());
                });
              });
            });
  transport_.AddUnary(
      service, &Async::RequestDeleteCheckpoint, kService, "DeleteCheckpoint",
      [this](UnaryCall<v1::DeleteCheckpointRequest, google::protobuf::Empty>& call) {
        executor_.Run([this, &call] { call.Finish(checkpoints_.Delete(call.request())); });
      });
  transport_.AddServerStream(
      service, &Async::RequestBackup, kService, "Backup",
      [this](std::shared_ptr<ServerStream<v1::BackupRequest, v1::BackupResponse>> stream) {
        executor_.Run([this, stream = std::move(stream)]() mutable {
          checkpoints_.Backup(std::move(stream));
        });
      });
}

void ModelService::RegisterTransfer(v1::ModelService::AsyncService* service) {
  using Async = v1::ModelService::AsyncService;
  transport_.AddServerStream(service, &Async::RequestExportModel, kService, "ExportModel",
                             [this](std::shared_ptr<Transfer::ExportStream> stream) {
                               transfer_.Export(std::move(stream));
                             });
  transport_.AddClientStream(service, &Async::RequestImportModel, kService, "ImportModel",
                             [this](Call&) { return transfer_.Import(Describe); });
}

absl::Status ModelService::CreateModel(const v1::CreateModelRequest& request, v1::Model* response) {
  RETURN_IF_ERROR(CheckModelId(request.model_id()));
  ASSIGN_OR_RETURN(ModelSpec spec, FromProto(request.spec()));
  RETURN_IF_ERROR(registry_.CheckShadow(request.model_id(), spec.learning.shadow_of));
  ASSIGN_OR_RETURN(const auto model, registry_.Create(request.model_id(), std::move(spec),
                                                      FromProto(request.initial_state())));
  Describe(*model, response);
  return absl::OkStatus();
}

absl::Status ModelService::GetModel(const v1::GetModelRequest& request, v1::Model* response) {
  ASSIGN_OR_RETURN(const auto model, registry_.Find(request.model()));
  Describe(*model, response);
  return absl::OkStatus();
}

void ModelService::ListModels(UnaryCall<v1::ListModelsRequest, v1::ListModelsResponse>& call) {
  const int asked = call.request().page_size();
  if (asked < 0) {
    return call.Finish(MakeError(absl::StatusCode::kInvalidArgument, "LIMIT_EXCEEDED", "page_size",
                                 absl::StrCat("expected at least 0, got ", asked)));
  }
  const absl::StatusOr<std::string> after = FromToken(call.request().page_token());
  if (!after.ok()) return call.Finish(after.status());
  const int page = asked == 0 ? kDefaultPage : std::min(asked, kLargestPage);
  // One more than the page, to know whether there is another.
  const auto models = ListVisible(registry_, *after, page + 1, call);
  const int count = std::min(page, static_cast<int>(models.size()));
  for (int i = 0; i < count; ++i) Describe(*models[i], call.response()->add_models());
  if (static_cast<int>(models.size()) > page) {
    call.response()->set_next_page_token(ToToken(models[page - 1]->id()));
  }
  call.Finish(absl::OkStatus());
}

template <class Request>
void ModelService::Change(UnaryCall<Request, v1::Model>& call, absl::StatusOr<Command> command) {
  const auto model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  if (!command.ok()) return call.Finish(command.status());
  (*model)->Submit({.command = *command,
                    .done =
                        [this, &call, model = *model](absl::StatusOr<StepResult> result) {
                          if (result.ok()) {
                            registry_.SetShadow(model->id(),
                                                model->view()->spec->learning.shadow_of);
                            Describe(*model, call.response());
                          }
                          call.Finish(result.status());
                        },
                    .chain = nullptr});
}

void ModelService::UpdateModel(UnaryCall<v1::UpdateModelRequest, v1::Model>& call) {
  const absl::StatusOr<UpdateCommand> update = FromProto(call.request());
  if (!update.ok()) return Change(call, update.status());
  const std::string of = update->shadow_of.value_or("");
  const absl::Status shadow = registry_.CheckShadow(call.request().model(), of);
  Change(call, shadow.ok() ? absl::StatusOr<Command>(*update) : shadow);
}

void ModelService::GetModelState(
    UnaryCall<v1::GetModelStateRequest, v1::GetModelStateResponse>& call) {
  const auto model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  (*model)->Inspect(
      [&call](const Learner& learner) {
        call.response()->set_step(learner.step());
        lazynorm::ToProto(learner.Tensors(), call.response()->mutable_tensors());
      },
      [&call](absl::Status status) { call.Finish(std::move(status)); });
}

void ModelService::CopyModel(UnaryCall<v1::CopyModelRequest, v1::Model>& call) {
  const auto model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  const absl::Status id = CheckModelId(call.request().model_id());
  if (!id.ok()) return call.Finish(id);
  auto copy = std::make_shared<std::unique_ptr<Learner>>();
  auto add = [this, &call, copy](absl::Status copied) {
    if (!copied.ok()) return call.Finish(std::move(copied));
    // Off the trainer's thread: the plan is made anew.
    executor_.Run([this, &call, copy] {
      const auto added = registry_.Add(call.request().model_id(), std::move(*copy));
      if (added.ok()) Describe(**added, call.response());
      call.Finish(added.status());
    });
  };
  (*model)->Inspect([copy](const Learner& learner) { *copy = learner.Copy(); }, std::move(add));
}

void ModelService::WatchModel(std::shared_ptr<WatchStream> stream) {
  auto model = registry_.Find(stream->request().model());
  if (!model.ok()) return stream->Finish(model.status());
  const auto interval = WatchInterval(stream->request());
  if (!interval.ok()) return stream->Finish(interval.status());
  std::make_shared<Watch>(transport_, *std::move(model), std::move(stream), *interval)->Tick();
}

}  // namespace lazynorm
