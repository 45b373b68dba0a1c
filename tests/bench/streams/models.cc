#include "tests/bench/streams/models.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "client/cli/preset.h"
#include "model/learner.h"
#include "server/convert/spec.h"

namespace lazynorm {
namespace {

class Model : public Contestant {
 public:
  Model(const ModelSpec& spec, int classes, int least_rows)
      : learner_(*Learner::Create(spec, Limits())), classes_(classes), least_rows_(least_rows) {}

  std::vector<float> Answer(ConstMatrixView x) override {
    if (learner_->lazy()) return std::vector<float>(x.rows());
    const Matrix out = *learner_->MakePlan()->Predict(x);
    std::vector<float> answers;
    for (int64_t i = 0; i < x.rows(); ++i) answers.push_back(ToAnswer(out, i));
    return answers;
  }

  // A step that is refused (it would not be finite) leaves the model as it was.
  void Learn(ConstMatrixView x, const float* y) override {
    x_.insert(x_.end(), x.data(), x.data() + x.size());
    y_.insert(y_.end(), y, y + x.rows());
    if (static_cast<int>(y_.size()) < least_rows_) return;
    const int64_t rows = y_.size();
    Batch batch{.features = ConstMatrixView(x_.data(), rows, x.cols())};
    const std::vector<int32_t> labels(y_.begin(), y_.end());
    if (classes_ > 0) {
      batch.labels = labels;
    } else {
      batch.targets = ConstMatrixView(y_.data(), rows, 1);
    }
    (void)learner_->Apply(TrainCommand{.batch = batch});
    x_.clear();
    y_.clear();
  }

 private:
  float ToAnswer(const Matrix& out, int64_t row) const {
    if (classes_ == 0) return out(row, 0);
    if (classes_ == 2) return out(row, 0) > 0;
    Eigen::Index best;
    out.row(row).maxCoeff(&best);
    return static_cast<float>(best);
  }

  const std::unique_ptr<Learner> learner_;
  const int classes_, least_rows_;
  std::vector<float> x_, y_;  // not learned yet
};

ModelSpec SpecOf(Way way, int classes, uint64_t seed) {
  v1::ModelSpec spec;
  spec.set_seed(seed);
  spec.mutable_mlp()->set_out_features(classes > 2 ? classes : 1);
  spec.mutable_loss()->set_kind(classes == 0   ? v1::LOSS_KIND_MSE
                                : classes == 2 ? v1::LOSS_KIND_BCE_WITH_LOGITS
                                               : v1::LOSS_KIND_CROSS_ENTROPY);
  ApplyStreamPreset(/*keep_clip=*/false, &spec);
  ModelSpec result = *FromProto(spec);
  if (way == Way::kPreset) return result;
  result.learning = {};
  const bool running = way == Way::kRunning || way == Way::kRunningAndReplay;
  for (LayerSpec& layer : result.layers) {
    auto* norm = std::get_if<BatchNormSpec>(&layer);
    if (norm == nullptr) continue;
    *norm = {};
    if (running) norm->training_statistics = TrainingStatistics::kRunning;
    if (running) norm->momentum = 0.01;
  }
  const bool replay = way == Way::kReplay || way == Way::kRunningAndReplay;
  if (replay) result.learning.replay = {.capacity = 10000, .rows_per_step = 64};
  return result;
}

}  // namespace

std::unique_ptr<Contestant> MakeModel(Way way, const Stream& stream, int rows, uint64_t seed) {
  const bool batch_statistics = way == Way::kTorch || way == Way::kReplay;
  const int least_rows = !batch_statistics ? 1 : rows == 1 ? 8 : 2;
  return std::make_unique<Model>(SpecOf(way, stream.classes, seed), stream.classes, least_rows);
}

}  // namespace lazynorm
