#include "client/cli/preset.h"

namespace lazynorm {
namespace {

constexpr int kHidden[] = {32, 16};
constexpr double kMomentum = 0.003;
constexpr double kLearningRate = 0.01;
constexpr double kClipGradNorm = 1;
constexpr int kRowsKept = 10000;
constexpr int kRowsReplayed = 64;

void AddBatchNorm(v1::ModelSpec* spec) {
  v1::BatchNorm* batch_norm = spec->add_layers()->mutable_batch_norm();
  batch_norm->set_momentum(kMomentum);
  batch_norm->set_training_statistics(v1::TRAINING_STATISTICS_RUNNING);
}

// What the server makes of an mlp, but with running statistics.
void WriteOut(const v1::Mlp& mlp, v1::ModelSpec* spec) {
  AddBatchNorm(spec);
  for (const int width : mlp.hidden()) {
    spec->add_layers()->mutable_linear()->set_out_features(width);
    AddBatchNorm(spec);
    const bool unset = mlp.activation() == v1::ACTIVATION_KIND_UNSPECIFIED;
    spec->add_layers()->mutable_activation()->set_kind(unset ? v1::ACTIVATION_KIND_RELU
                                                             : mlp.activation());
    if (mlp.dropout() > 0) spec->add_layers()->mutable_dropout()->set_p(mlp.dropout());
  }
  spec->add_layers()->mutable_linear()->set_out_features(mlp.out_features());
}

void AddExpert(int replayed, int updates, v1::Learning* learning) {
  v1::Expert* expert = learning->add_experts();
  if (replayed > 0) {
    expert->mutable_replay()->set_capacity(kRowsKept);
    expert->mutable_replay()->set_rows_per_step(replayed);
  }
  expert->set_updates_per_request(updates);
}

}  // namespace

void ApplyStreamPreset(bool keep_clip, v1::ModelSpec* spec) {
  v1::Mlp mlp = spec->mlp();
  if (mlp.hidden().empty()) mlp.mutable_hidden()->Add(std::begin(kHidden), std::end(kHidden));
  spec->clear_mlp();
  WriteOut(mlp, spec);
  v1::Optimizer* optimizer = spec->mutable_optimizer();
  const bool adam = optimizer->has_adam() || optimizer->kind_case() == v1::Optimizer::KIND_NOT_SET;
  if (adam && !optimizer->adam().has_lr()) optimizer->mutable_adam()->set_lr(kLearningRate);
  v1::Learning* learning = spec->mutable_learning();
  if (!keep_clip) learning->set_clip_grad_norm(kClipGradNorm);
  const v1::LossKind loss = spec->loss().kind();
  learning->set_normalize_targets(loss != v1::LOSS_KIND_CROSS_ENTROPY &&
                                  loss != v1::LOSS_KIND_BCE_WITH_LOGITS);
  AddExpert(0, 1, learning);
  AddExpert(kRowsReplayed, 1, learning);
  AddExpert(kRowsReplayed, 6, learning);
  AddExpert(0, 4, learning);
}

}  // namespace lazynorm
