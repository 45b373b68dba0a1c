#include "server/rpc/training_service.h"

#include <string>
#include <utility>

#include "model/errors.h"
#include "server/hosting/hosted_model.h"
#include "server/hosting/shadows.h"

namespace lazynorm {
namespace {

constexpr char kService[] = "lazynorm.v1.TrainingService";

// Messages of a TrainStream. Those of one model overlap: its trainer keeps their order, and the
// chain keeps what follows a refused one from being learned. Another model's wait, and so does what
// another replica is to train on: on its way it could be overtaken.
class TrainStream : public BidiHandler<v1::TrainRequest, v1::TrainResponse> {
 public:
  TrainStream(TrainingService& service, Call& call) : service_(service), call_(call) {}

  bool MayOverlap(const v1::TrainRequest& next) override {
    return next.model() == model_ && here_ && service_.forwarder().IsHere(call_, next.model());
  }

  void OnMessage(v1::TrainRequest request, Reply<v1::TrainResponse> reply) override {
    model_ = request.model();
    here_ = service_.forwarder().IsHere(call_, model_);
    auto kept = std::make_unique<v1::TrainRequest>(std::move(request));
    const v1::TrainRequest& message = *kept;
    auto done = [kept = std::move(kept),
                 reply = std::move(reply)](absl::StatusOr<v1::TrainResponse> response) mutable {
      reply(std::move(response));
    };
    if (here_) return service_.Train(message, chain_, std::move(done));
    service_.TrainElsewhere(call_, message, chain_, std::move(done));
  }

 private:
  TrainingService& service_;
  Call& call_;
  bool here_ = true;  // the latest message was trained on by this replica
  const std::shared_ptr<CommandChain> chain_ = std::make_shared<CommandChain>();
  std::string model_;  // of the latest message
};

Route RouteOf(const v1::TrainRequest& request) {
  return {kService, "Train", /*at_writer=*/true, /*repeatable=*/!request.request_id().empty()};
}

}  // namespace

void TrainingService::Register() {
  using Async = v1::TrainingService::AsyncService;
  auto* service = transport_.AddService(std::make_unique<Async>());
  transport_.AddUnary(
      service, &Async::RequestTrain, kService, "Train",
      [this](UnaryCall<v1::TrainRequest, v1::TrainResponse>& call) { Train(call); });
  transport_.AddBidi(service, &Async::RequestTrainStream, kService, "TrainStream",
                     [this](Call& call) { return std::make_unique<TrainStream>(*this, call); });
}

void TrainingService::Train(UnaryCall<v1::TrainRequest, v1::TrainResponse>& call) {
  auto finish = [&call](absl::StatusOr<v1::TrainResponse> response) {
    if (!response.ok()) return call.Finish(response.status());
    *call.response() = *std::move(response);
    call.Finish(absl::OkStatus());
  };
  auto here = [this, &call, finish] {
    Train(call.request(), nullptr,
          [this, &call, finish](absl::StatusOr<v1::TrainResponse> response) {
            // The model went to another replica meanwhile, and so does the call.
            if (IsNoWriter(response.status()) && !forwarder_.IsHere(call)) return Train(call);
            finish(std::move(response));
          });
  };
  if (forwarder_.IsHere(call)) return here();
  forwarder_.Run<v1::TrainResponse>(
      call, RouteOf(call.request()), call.request(),
      [this, &call, finish](absl::StatusOr<v1::TrainResponse> response) {
        NoteStep(call.request().model(), response);
        finish(std::move(response));
      },
      here, &call);
}

void TrainingService::TrainElsewhere(const Call& stream, const v1::TrainRequest& request,
                                     std::shared_ptr<CommandChain> chain, Done done) {
  // Whichever of the two is called takes it.
  auto shared = std::make_shared<Done>(std::move(done));
  forwarder_.Run<v1::TrainResponse>(
      stream, RouteOf(request), request,
      [this, shared, model = request.model()](absl::StatusOr<v1::TrainResponse> response) {
        NoteStep(model, response);
        (*shared)(std::move(response));
      },
      [this, shared, &request, chain = std::move(chain)]() mutable {
        Train(request, std::move(chain),
              [shared](absl::StatusOr<v1::TrainResponse> r) { (*shared)(std::move(r)); });
      });
}

void TrainingService::NoteStep(const std::string& model,
                               const absl::StatusOr<v1::TrainResponse>& response) {
  const auto here = registry_.Find(model);
  if (response.ok() && here.ok()) (*here)->Told(response->step());
}

void TrainingService::Train(const v1::TrainRequest& request, std::shared_ptr<CommandChain> chain,
                            absl::AnyInvocable<void(absl::StatusOr<v1::TrainResponse>)> done) {
  const auto model = registry_.Find(request.model());
  if (!model.ok()) return done(model.status());
  const auto command = ToCommand(request, limits_);
  if (!command.ok()) {
    (*model)->metrics().TrainRejected(ReasonOf(command.status()));
    return done(command.status());
  }
  (*model)->Submit({.command = *command,
                    .done =
                        [this, model = *model, command = *command,
                         done = std::move(done)](absl::StatusOr<StepResult> result) mutable {
                          if (!result.ok()) {
                            // What only stood behind a refused message was not refused itself.
                            if (!absl::IsCancelled(result.status())) {
                              model->metrics().TrainRejected(ReasonOf(result.status()));
                            }
                            return done(result.status());
                          }
                          v1::TrainResponse response;
                          ToProto(*result, &response);
                          TeachShadows(
                              registry_, model->id(), command,
                              [response = std::move(response), done = std::move(done)]() mutable {
                                done(std::move(response));
                              });
                        },
                    .chain = std::move(chain)});
}

}  // namespace lazynorm
