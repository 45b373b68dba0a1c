#include "client/cli/train_run.h"

#include <utility>

#include "client/cli/data_flags.h"

namespace lazynorm {

TrainRun::TrainRun(Client client, v1::Model model, TrainOptions options)
    : client_(std::move(client)),
      model_(std::move(model)),
      options_(std::move(options)),
      scores_(model_.spec().loss().kind(), options_.report_every, options_.skip_first) {}

absl::Status TrainRun::Run(OnProgress on_progress) {
  on_progress_ = std::move(on_progress);
  if (!options_.baseline.empty()) {
    auto baseline = MakeBaseline(options_.baseline, model_, options_.columns.ahead > 0);
    if (!baseline.ok()) return baseline.status();
    baseline_ = *std::move(baseline);
  }
  const std::unique_ptr<TrainStream> stream = client_.OpenTrainStream(
      options_.window,
      [this](const v1::TrainRequest&, const v1::TrainResponse& response) { OnAnswer(response); });
  absl::Status status;
  for (int epoch = 0; epoch < options_.epochs && status.ok(); ++epoch) {
    status = SendEpoch(epoch, stream.get());
  }
  const absl::Status finished = stream->Finish();
  return status.ok() ? finished : status;
}

absl::Status TrainRun::SendEpoch(int epoch, TrainStream* stream) {
  last_epoch_row_ = rows_sent_;
  absl::StatusOr<ExampleReader> examples = OpenExamples(options_.path, options_.columns, model_);
  if (!examples.ok()) return examples.status();
  BatchReader batches(&*examples, options_.batch);
  for (;;) {
    const absl::StatusOr<Batch> batch = batches.Next();
    if (!batch.ok()) return batch.status();
    if (batch->empty()) return absl::OkStatus();
    rows_sent_ += static_cast<int64_t>(batch->size());
    const double share = examples->table().Progress();
    share_ = share < 0 ? -1 : (epoch + share) / options_.epochs;
    sent_.push_back(ScoreBaseline(*batch, epoch));
    if (absl::Status status = stream->Write(ToRequest(*batch)); !status.ok()) return status;
  }
}

v1::TrainRequest TrainRun::ToRequest(const Batch& batch) const {
  v1::TrainRequest request;
  request.set_model(model_.model_id());
  if (options_.columns.without_features) {
    SetPredictionIds(batch, &request);
  } else {
    *request.mutable_features() = FeaturesOf(batch);
  }
  SetTargets(batch, model_.spec().loss().kind(), !options_.columns.weight.empty(), &request);
  if (options_.freeze_statistics) request.set_statistics(v1::STATISTICS_MODE_FREEZE);
  return request;
}

ScoredBatch TrainRun::ScoreBaseline(const Batch& batch, int epoch) {
  ScoredBatch scored;
  scored.rows = static_cast<int64_t>(batch.size());
  scored.weight = WeightOf(batch);
  scored.first_epoch = epoch == 0;
  scored.date = batch.back().date;
  if (baseline_ == nullptr || epoch > 0) return scored;
  for (const Example& row : batch) scored.baseline_loss += row.weight * baseline_->Score(row);
  return scored;
}

void TrainRun::OnAnswer(const v1::TrainResponse& response) {
  ScoredBatch batch = std::move(sent_.front());
  sent_.pop_front();
  batch.model_loss = response.prequential_loss() * batch.weight;
  step_ = response.step();
  const std::optional<Score> period = scores_.Add(batch);
  on_progress_(share_, period.has_value() ? &*period : nullptr);
}

}  // namespace lazynorm
