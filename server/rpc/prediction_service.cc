#include "server/rpc/prediction_service.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/loss.h"
#include "model/status_macros.h"
#include "server/hosting/hosted_model.h"
#include "server/hosting/shadows.h"

namespace lazynorm {
namespace {

// Multiplications above which a prediction leaves the polling thread: about 200 us of one core.
constexpr int64_t kInlineWork = 4'000'000;
// Multiplications that are worth waking up another thread for.
constexpr int64_t kPartWork = 8'000'000;

constexpr char kService[] = "lazynorm.v1.PredictionService";

// Predicts labelled rows and adds their scores.
absl::Status Score(const Plan& plan, const Batch& batch, Evaluator& evaluator) {
  RETURN_IF_ERROR(plan.Check(batch.features));
  RETURN_IF_ERROR(CheckTargets(plan.loss(), batch, plan.out_features()));
  ASSIGN_OR_RETURN(const Matrix y, plan.Predict(batch.features));
  evaluator.Add(ViewOf(y), batch);
  return absl::OkStatus();
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
    service_.Predict({.request = &exchange->request,
                      .response = &exchange->response,
                      .deadline = call_.deadline(),
                      .on_wait = [this](std::shared_ptr<StepWait> wait) { Keep(std::move(wait)); },
                      .done =
                          [exchange](absl::Status status) {
                            if (!status.ok()) return exchange->reply(std::move(status));
                            exchange->reply(std::move(exchange->response));
                          }});
  }

  void OnCancel() override {
    std::shared_ptr<StepWait> wait;
    {
      MutexLock lock(&mutex_);
      cancelled_ = true;
      wait = std::move(wait_);
    }
    if (wait != nullptr) wait->Cancel();
  }

 private:
  void Keep(std::shared_ptr<StepWait> wait) {
    {
      MutexLock lock(&mutex_);
      wait_ = wait;
      if (!cancelled_) return;
    }
    wait->Cancel();
  }

  PredictionService& service_;
  Call& call_;
  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<StepWait> wait_ ABSL_GUARDED_BY(mutex_);
};

// The messages of an EvaluateStream: one model, and one plan for all rows.
class EvaluateStream : public ClientStreamHandler<v1::EvaluateRequest, v1::EvaluateResponse> {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  explicit EvaluateStream(PredictionService& service) : service_(service) {}

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
    model->WithPlan(static_cast<int>(batch_.features.cols()),
                    [this](absl::StatusOr<std::shared_ptr<const Plan>> plan) {
                      if (!plan.ok()) return std::exchange(done_, nullptr)(plan.status());
                      plan_ = *std::move(plan);
                      evaluator_.emplace(plan_->loss(), plan_->out_features());
                      Evaluate();
                    });
    return absl::OkStatus();
  }

  void Evaluate() {
    service_.RunByCost(*plan_, batch_.rows(), [this] {
      const absl::Status status = Score(*plan_, batch_, *evaluator_);
      std::exchange(done_, nullptr)(status);
    });
  }

  PredictionService& service_;
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
                        Predict({.request = &call.request(),
                                 .response = call.response(),
                                 .deadline = call.deadline(),
                                 .on_wait =
                                     [&call](std::shared_ptr<StepWait> wait) {
                                       call.OnCancel([wait] { wait->Cancel(); });
                                     },
                                 .done = [&call](absl::Status status) { call.Finish(status); }});
                      });
  transport_.AddUnary(
      service, &Async::RequestEvaluate, kService, "Evaluate",
      [this](UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call) { Evaluate(call); });
  transport_.AddBidi(service, &Async::RequestPredictStream, kService, "PredictStream",
                     [this](Call& call) { return std::make_unique<PredictStream>(*this, call); });
  transport_.AddClientStream(service, &Async::RequestEvaluateStream, kService, "EvaluateStream",
                             [this](Call&) { return std::make_unique<EvaluateStream>(*this); });
}

void PredictionService::RunByCost(const Plan& plan, int64_t rows, absl::AnyInvocable<void()> work) {
  if (rows * plan.work_per_row() <= kInlineWork) return work();
  executor_.Run(std::move(work));
}

void PredictionService::PredictRows(const Plan& plan, ConstMatrixView x, MatrixView y) {
  const int64_t most = x.rows() * plan.work_per_row() / kPartWork;
  const auto parts = static_cast<int>(std::min<int64_t>(most, executor_.threads()));
  if (parts < 2 || !plan.rows_are_independent()) return plan.Predict(x, y);
  const int64_t rows = (x.rows() + parts - 1) / parts;
  executor_.RunParts(parts, [&](int i) {
    const int64_t begin = std::min(i * rows, x.rows());
    const int64_t count = std::min(rows, x.rows() - begin);
    plan.Predict({x.row(begin), count, x.cols()}, {y.row(begin), count, y.cols()});
  });
}

absl::Status PredictionService::PredictInto(const Plan& plan, ConstMatrixView x, v1::Output output,
                                            v1::PredictResponse* response, Matrix* raw) {
  if (!v1::Output_IsValid(output)) {
    return TargetMismatch("output", "RAW or PROBABILITIES", absl::StrCat(output));
  }
  RETURN_IF_ERROR(plan.Check(x));
  MatrixView y = MutableMatrix(x.rows(), plan.out_features(), response->mutable_predictions());
  PredictRows(plan, x, y);
  if (raw != nullptr) *raw = ToEigen(y);
  if (output == v1::OUTPUT_PROBABILITIES) RETURN_IF_ERROR(ToProbabilities(plan.loss(), y));
  response->set_step(plan.step());
  return absl::OkStatus();
}

absl::Status PredictionService::Queue(int64_t values) {
  const int64_t queued = queued_values_.fetch_add(values);
  if (queued == 0 || queued + values <= max_queued_values_) return absl::OkStatus();
  queued_values_ -= values;
  return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "",
                   "too many large predictions wait already; try again shortly");
}

void PredictionService::Predict(PredictJob job) {
  const ModelAndStatus model = registry_.Find(job.request->model());
  if (!model.ok()) return job.done(model.status());
  const auto x = ToMatrix(job.request->features(), "features", limits_);
  if (!x.ok()) return job.done(x.status());
  auto ids = ToPredictionIds(job.request->prediction_ids(), x->rows());
  if (!ids.ok()) return job.done(ids.status());
  job.prediction_ids = *std::move(ids);
  const int64_t min_step = job.request->min_step();
  if (min_step <= (*model)->view()->step) return Reached(*model, *x, std::move(job));
  // The job moves into the wait, but for the way to cancel it.
  auto on_wait = std::move(job.on_wait);
  const absl::Time deadline = job.deadline;
  on_wait(StepWait::Start(
      transport_, *model, min_step, deadline,
      [this, model = *model, x = *x, job = std::move(job)](absl::Status status) mutable {
        if (!status.ok()) return job.done(std::move(status));
        Reached(model, x, std::move(job));
      }));
}

void PredictionService::Reached(std::shared_ptr<HostedModel> model, ConstMatrixView x,
                                PredictJob job) {
  const std::shared_ptr<const Plan> plan = model->view()->plan;
  if (plan == nullptr) {
    const int columns = static_cast<int>(x.cols());
    auto resolved = [this, model, x, job = std::move(job)](
                        absl::StatusOr<std::shared_ptr<const Plan>> plan) mutable {
      if (!plan.ok()) return job.done(plan.status());
      Answer(model, **plan, x, std::move(job));
    };
    return model->WithPlan(columns, std::move(resolved));
  }
  if (x.rows() * plan->work_per_row() <= kInlineWork) {
    return Answer(model, *plan, x, std::move(job));
  }
  if (absl::Status queued = Queue(x.size()); !queued.ok()) return job.done(std::move(queued));
  executor_.Run([this, model, plan, x, job = std::move(job)]() mutable {
    const int64_t values = x.size();  // of a request that is gone once it is answered
    Answer(model, *plan, x, std::move(job));
    queued_values_ -= values;
  });
}

void PredictionService::Answer(const std::shared_ptr<HostedModel>& model, const Plan& plan,
                               ConstMatrixView x, PredictJob job) {
  const bool remember = !job.prediction_ids.empty();
  Matrix served;
  const absl::Status status =
      PredictInto(plan, x, job.request->output(), job.response, remember ? &served : nullptr);
  if (status.ok() && remember) return Remember(model, x, std::move(served), std::move(job));
  if (status.ok()) model->metrics().RowsPredicted(x.rows());
  job.done(status);
}

void PredictionService::Remember(const std::shared_ptr<HostedModel>& model, ConstMatrixView x,
                                 Matrix served, PredictJob job) {
  auto kept = std::make_unique<Matrix>(std::move(served));
  RememberCommand command{.ids = std::move(job.prediction_ids),
                          .features = x,
                          .predictions = ViewOf(std::as_const(*kept))};
  auto done = [this, model, command, kept = std::move(kept),
               job = std::move(job)](absl::StatusOr<StepResult> result) mutable {
    if (!result.ok()) return job.done(result.status());
    model->metrics().RowsPredicted(kept->rows());
    RememberInShadows(registry_, model->id(), command,
                      [job = std::move(job)]() mutable { job.done(absl::OkStatus()); });
  };
  model->Submit({.command = std::move(command), .done = std::move(done), .chain = nullptr});
}

void PredictionService::Evaluate(UnaryCall<v1::EvaluateRequest, v1::EvaluateResponse>& call) {
  const ModelAndStatus model = registry_.Find(call.request().model());
  if (!model.ok()) return call.Finish(model.status());
  const auto batch = ToBatch(call.request(), limits_);
  if (!batch.ok()) return call.Finish(batch.status());
  const int columns = static_cast<int>(batch->features.cols());
  (*model)->WithPlan(
      columns, [this, &call, batch = *batch](absl::StatusOr<std::shared_ptr<const Plan>> plan) {
        if (!plan.ok()) return call.Finish(plan.status());
        RunByCost(**plan, batch.rows(), [&call, batch, plan = *plan] {
          Evaluator evaluator(plan->loss(), plan->out_features());
          const absl::Status status = Score(*plan, batch, evaluator);
          if (status.ok()) ToProto(evaluator.Result(), plan->step(), call.response());
          call.Finish(status);
        });
      });
}

}  // namespace lazynorm
