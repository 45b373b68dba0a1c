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
// chain keeps what follows a refused one from being learned. Another model's wait.
class TrainStream : public BidiHandler<v1::TrainRequest, v1::TrainResponse> {
 public:
  explicit TrainStream(TrainingService& service) : service_(service) {}

  bool MayOverlap(const v1::TrainRequest& next) override { return next.model() == model_; }

  void OnMessage(v1::TrainRequest request, Reply<v1::TrainResponse> reply) override {
    model_ = request.model();
    auto kept = std::make_unique<v1::TrainRequest>(std::move(request));
    const v1::TrainRequest& message = *kept;
    service_.Train(
        message, chain_,
        [kept = std::move(kept), reply = std::move(reply)](
            absl::StatusOr<v1::TrainResponse> response) mutable { reply(std::move(response)); });
  }

 private:
  TrainingService& service_;
  const std::shared_ptr<CommandChain> chain_ = std::make_shared<CommandChain>();
  std::string model_;  // of the latest message
};

}  // namespace

void TrainingService::Register() {
  using Async = v1::TrainingService::AsyncService;
  auto* service = transport_.AddService(std::make_unique<Async>());
  transport_.AddUnary(service, &Async::RequestTrain, kService, "Train",
                      [this](UnaryCall<v1::TrainRequest, v1::TrainResponse>& call) {
                        Train(call.request(), nullptr,
                              [&call](absl::StatusOr<v1::TrainResponse> response) {
                                if (!response.ok()) return call.Finish(response.status());
                                *call.response() = *std::move(response);
                                call.Finish(absl::OkStatus());
                              });
                      });
  transport_.AddBidi(service, &Async::RequestTrainStream, kService, "TrainStream",
                     [this](Call&) { return std::make_unique<TrainStream>(*this); });
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
