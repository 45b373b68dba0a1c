#include "server/rpc/prediction_service.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/loss.h"
#include "model/status_macros.h"
#include "server/hosting/hosted_model.h"

namespace lazynorm {
namespace {

constexpr char kService[] = "lazynorm.v1.PredictionService";

// Leaves the raw predictions in `raw` too, unless it is null.
absl::Status PredictInto(Predictor& predictor, const Plan& plan, ConstMatrixView x,
                         v1::Output output, v1::PredictResponse* response, Matrix* raw) {
  if (!v1::Output_IsValid(output)) {
    return TargetMismatch("output", "RAW or PROBABILITIES", absl::StrCat(output));
  }
  MatrixView y = MutableMatrix(x.rows(), plan.out_features(), response->mutable_predictions());
  predictor.PredictRows(plan, x, y);
  if (raw != nullptr) *raw = ToEigen(y);
  if (output == v1::OUTPUT_PROBABILITIES) RETURN_IF_ERROR(ToProbabilities(plan.loss(), y));
  response->set_step(plan.step());
  return absl::OkStatus();
}

// Predicts labelled rows and adds their scores.
absl::Status Score(const Plan& plan, const Batch& batch, Evaluator& evaluator) {
  RETURN_IF_ERROR(plan.Check(batch.features));
  RETURN_IF_ERROR(CheckTargets(plan.loss(), batch, plan.out_features()));
  ASSIGN_OR_RETURN(const Matrix y, plan.Predict(batch.features));
  evaluator.Add(ViewOf(y), batch);
  return absl::OkStatus();
}

// What is to be remembered changes the model.
Route RouteOf(const v1::PredictRequest& request) {
  const bool remembers = !request.prediction_ids().empty();
  return {kService, "Predict", /*at_writer=*/remembers, /*repeatable=*/!remembers};
}

// Messages of a PredictStream. Overlap, except that one which waits for a step is waited for.
class PredictStream : public BidiHandler<v1::PredictRequest, v1::PredictResponse> {
 public:
  PredictStream(PredictionService& service, Call& call) : service_(service), call_(call) {}

  bool MayOverlap(const v1::PredictRequest& next) override { return next.min_step() <= 0; }

  void OnMessage(v1::PredictRequest request, Reply<v1::PredictResponse> reply) override {
    struct Exchange {
      v1::PredictRequest request;
      v1::PredictResponse response;
      Reply<v1::PredictResponse> reply;
    };
    auto exchange = std::make_shared<Exchange>(Exchange{std::move(request), {}, std::move(reply)});
    service_.forwarder().Run<v1::PredictResponse>(
        call_, RouteOf(exchange->request), exchange->request,
        [exchange](absl::StatusOr<v1::PredictResponse> response) {
          exchange->reply(std::move(response));
        },
        [this, exchange] {
          service_.Predict(
              exchange->request, &exchange->response,
              {.deadline = call_.deadline(),
               .on_wait = [this](std::shared_ptr<StepWait> wait) { wait_.Keep(std::move(wait)); },
               .done =
                   [exchange](absl::Status status) {
                     if (!status.ok()) return exchange->reply(std::move(status));
                     exchange->reply(std::move(exchange->response));
                   },
               .call = &call_});
        });
  }

  void OnCancel() override { wait_.Cancel(); }

 private:
  PredictionService& service_;
  Call& call_;
  StreamWait wait_;
};

// The messages of an EvaluateStream: one model, and one plan for all rows.
class EvaluateStream : public ClientStreamHandler<v1::EvaluateRequest, v1::EvaluateResponse> {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  EvaluateStream(PredictionService& service, Call& call) : service_(service), call_(call) {}

  void OnMessage(v1::EvaluateRequest request, Done done) override {
    request_ = std::move(request);
    done_ = std::move(done);
    if (const absl::Status status = Take(); !status.ok()) std::exchange(done_, nullptr)(status);
  }

  void OnEnd(Reply<v1::EvaluateResponse> reply) override {
    if (plan_ == nullptr) return reply(EmptyBatch());
    v1::EvaluateResponse response;
    ToProto(evaluator_->Result(), plan_->step(), &response);
    reply(std::move(response));
  }

 private:
  // What comes of the message is told to done_, unless it is refused here.
  absl::Status Take() {
    if (plan_ != nullptr && request_.model() != model_) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "INVALID_MODEL_ID", "model",
          absl::StrCat("expected ", model_, " as in the first message, got ", request_.model()));
    }
    ASSIGN_OR_RETURN(batch_, ToBatch(request_, service_.limits()));
    if (plan_ != nullptr) {
      Evaluate();
      return absl::OkStatus();
    }
    model_ = request_.model();
    ASSIGN_OR_RETURN(const auto model, service_.registry().Find(model_));
    service_.predictor().WithPlan(&call_, model, static_cast<int>(batch_.features.cols()),
                                  [this](absl::StatusOr<std::shared_ptr<const Plan>> plan) {
                                    if (!plan.ok()) {
                                      return std::exchange(done_, nullptr)(plan.status());
                                    }
                                    plan_ = *std::move(plan);
                                    evaluator_.emplace(plan_->loss(), plan_->out_features());
                                    Evaluate();
                                  });
    return absl::OkStatus();
  }

  void Evaluate() {
    service_.predictor().RunByCost(*plan_, batch_.rows(), [this] {
      const absl::Status status = Score(*plan_, batch_, *evaluator_);
      std::exchange(done_, nullptr)(status);
    });
  }

  PredictionService& service_;
  Call& call_;
  v1::EvaluateRequest request_;
  Batch batch_;  // looks into request_
  Done done_;
  std::string model_;
  std::shared_ptr<const Plan> plan_;
  std::optional<Evaluator> evaluator_;
};

}  // namespace

void PredictionService::Register() {
  using Async = v1::PredictionService::AsyncService;
  auto* service = transport_.AddService(std::make_unique<Async>());
  transport_.AddUnary(service, &Async::RequestPredict, kService, "Predict",
                      [this](UnaryCall<v1::PredictRequest, v1::PredictResponse>& call) {
                        forwarder_.Run(call, RouteOf(call.request()), [this, &call] {
                          Predict(call.request(), call.response(), JobOf(call));
                        });
                      });
  transport_.AddUnary(service, &Async::RequestEvaluate, kService, "Evaluate",
                      [this](UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call) {
                        forwarder_.Run(
                            call, {kService, "Evaluate", /*at_writer=*/false, /*repeatable=*/true},
                            [this, &call] { Evaluate(call); });
                      });
  transport_.AddBidi(service, &Async::RequestPredictStream, kService, "PredictStream",
                     [this](Call& call) { return std::make_unique<PredictStream>(*this, call); });
  transport_.AddClientStream(
      service, &Async::RequestEvaluateStream, kService, "EvaluateStream",
      [this](Call& call) { return std::make_unique<EvaluateStream>(*this, call); });
}

absl::Status PredictionService::Prepare(const v1::PredictRequest& request, PredictJob& job) const {
  ASSIGN_OR_RETURN(job.model, registry_.Find(request.model()));
  ASSIGN_OR_RETURN(job.x, ToMatrix(request.features(), "features", limits_));
  ASSIGN_OR_RETURN(job.prediction_ids, ToPredictionIds(request.prediction_ids(), job.x.rows()));
  job.min_step = request.min_step();
  return absl::OkStatus();
}

void PredictionService::Predict(const v1::PredictRequest& request, v1::PredictResponse* response,
                                PredictJob job) {
  const absl::Status prepared = Prepare(request, job);
  if (!prepared.ok()) return Predictor::Fail(std::move(job), prepared);
  job.answer = [this, &request, response](const Plan& plan, ConstMatrixView x, Matrix* raw) {
    return PredictInto(predictor_, plan, x, request.output(), response, raw);
  };
  predictor_.Run(std::move(job));
}

void PredictionService::Evaluate(UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call) {
  const auto model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  const auto batch = ToBatch(call.request(), limits_);
  if (!batch.ok()) return call.Finish(batch.status());
  const int columns = static_cast<int>(batch->features.cols());
  predictor_.WithPlan(
      &call, *model, columns,
      [this, &call, batch = *batch](absl::StatusOr<std::shared_ptr<const Plan>> plan) {
        if (!plan.ok()) return call.Finish(plan.status());
        predictor_.RunByCost(**plan, batch.rows(), [&call, batch, plan = *plan] {
          Evaluator evaluator(plan->loss(), plan->out_features());
          const absl::Status status = Score(*plan, batch, evaluator);
          if (status.ok()) ToProto(evaluator.Result(), plan->step(), call.response());
          call.Finish(status);
        });
      });
}

}  // namespace lazynorm
