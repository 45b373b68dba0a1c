#include "server/rpc/predictor.h"

#include <algorithm>
#include <utility>

#include "model/command.h"
#include "model/errors.h"
#include "server/hosting/shadows.h"

namespace lazynorm {
namespace {

// Multiplications above which a prediction leaves the polling thread: about 200 us of one core.
constexpr int64_t kInlineWork = 4'000'000;
// Multiplications that are worth waking up another thread for.
constexpr int64_t kPartWork = 8'000'000;

// How long a prediction waits for what its callers may know of already.
constexpr absl::Duration kToldPatience = absl::Milliseconds(200);

void Succeed(PredictJob job, absl::Time compute) {
  const int64_t rows = job.x.rows();
  job.model->metrics().RowsPredicted(rows);
  job.model->predictions().Predicted(rows, job.begin, compute, absl::Now());
  job.done(absl::OkStatus());
}

}  // namespace

void Predictor::Fail(PredictJob job, absl::Status status) {
  if (job.model != nullptr) job.model->predictions().Failed(job.begin, absl::Now());
  job.done(std::move(status));
}

void Predictor::RunByCost(const Plan& plan, int64_t rows, absl::AnyInvocable<void()> work) {
  if (rows * plan.work_per_row() <= kInlineWork) return work();
  executor_.Run(std::move(work));
}

void Predictor::PredictRows(const Plan& plan, ConstMatrixView x, MatrixView y) {
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

absl::Status Predictor::Queue(int64_t values) {
  const int64_t queued = queued_values_.fetch_add(values);
  if (queued == 0 || queued + values <= max_queued_values_) return absl::OkStatus();
  queued_values_ -= values;
  return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "",
                   "too many large predictions wait already; try again shortly");
}

void Predictor::Run(PredictJob job) {
  const int64_t told = job.model->told_step();
  const int64_t step = job.model->view()->step;
  if (told > std::max(job.min_step, step)) return RunOnceTold(told, std::move(job));
  RunOnceReached(std::move(job));
}

// A step that another replica has taken is on its way here, unless the database cannot be reached:
// then what is here is better than nothing.
void Predictor::RunOnceTold(int64_t step, PredictJob job) {
  const auto model = job.model;
  StepWait::Start(transport_, model, step, std::min(job.deadline, absl::Now() + kToldPatience),
                  [this, job = std::move(job)](const absl::Status&) mutable {
                    RunOnceReached(std::move(job));
                  });
  model->CatchUp();
}

void Predictor::RunOnceReached(PredictJob job) {
  if (job.min_step <= job.model->view()->step) return Reached(std::move(job));
  // The job moves into the wait, but for the way to cancel it.
  auto on_wait = std::move(job.on_wait);
  const auto model = job.model;
  const int64_t min_step = job.min_step;
  const absl::Time deadline = job.deadline;
  auto wait = StepWait::Start(transport_, model, min_step, deadline,
                              [this, job = std::move(job)](absl::Status status) mutable {
                                if (!status.ok()) return Fail(std::move(job), std::move(status));
                                Reached(std::move(job));
                              });
  if (on_wait != nullptr) on_wait(std::move(wait));
  if (!model->writes()) model->CatchUp();  // it may be there already
}

void Predictor::WithPlan(const Call* call, const std::shared_ptr<HostedModel>& model, int columns,
                         HostedModel::PlanDone done) {
  if (model->writes() || model->view()->plan != nullptr) {
    return model->WithPlan(columns, std::move(done));
  }
  forwarder_.Resolve(call, model, columns,
                     [model, columns, done = std::move(done)](const absl::Status& status) mutable {
                       if (!status.ok()) return done(status);
                       model->WithPlan(columns, std::move(done));
                     });
}

void Predictor::Reached(PredictJob job) {
  std::shared_ptr<const Plan> plan = job.model->view()->plan;
  if (plan == nullptr) {
    const auto model = job.model;
    const int columns = static_cast<int>(job.x.cols());
    const Call* const call = job.call;
    return WithPlan(
        call, model, columns,
        [this, job = std::move(job)](absl::StatusOr<std::shared_ptr<const Plan>> plan) mutable {
          if (!plan.ok()) return Fail(std::move(job), plan.status());
          Answer(**plan, std::move(job));
        });
  }
  if (job.x.rows() * plan->work_per_row() <= kInlineWork) return Answer(*plan, std::move(job));
  const int64_t values = job.x.size();  // of a request that is gone once it is answered
  if (absl::Status queued = Queue(values); !queued.ok()) {
    return Fail(std::move(job), std::move(queued));
  }
  executor_.Run([this, plan = std::move(plan), values, job = std::move(job)]() mutable {
    Answer(*plan, std::move(job));
    queued_values_ -= values;
  });
}

void Predictor::Answer(const Plan& plan, PredictJob job) {
  const absl::Time compute = absl::Now();
  if (compute >= job.deadline) {
    return Fail(std::move(job), absl::DeadlineExceededError("the deadline has passed"));
  }
  const bool remember = !job.prediction_ids.empty();
  Matrix served;
  absl::Status status = plan.Check(job.x);
  if (status.ok()) status = job.answer(plan, job.x, remember ? &served : nullptr);
  if (!status.ok()) return Fail(std::move(job), std::move(status));
  if (remember) return Remember(std::move(job), std::move(served), compute);
  Succeed(std::move(job), compute);
}

void Predictor::Remember(PredictJob job, Matrix served, absl::Time compute) {
  auto kept = std::make_unique<Matrix>(std::move(served));
  RememberCommand command{.ids = std::move(job.prediction_ids),
                          .features = job.x,
                          .predictions = ViewOf(std::as_const(*kept))};
  const auto model = job.model;
  auto done = [this, command, kept = std::move(kept), job = std::move(job),
               compute](absl::StatusOr<StepResult> result) mutable {
    if (!result.ok()) return Fail(std::move(job), result.status());
    const std::string id = job.model->id();
    RememberInShadows(registry_, id, command, [job = std::move(job), compute]() mutable {
      Succeed(std::move(job), compute);
    });
  };
  model->Submit({.command = std::move(command), .done = std::move(done), .chain = nullptr});
}

}  // namespace lazynorm
