#ifndef LAZYNORM_MODEL_COMMAND_H_
#define LAZYNORM_MODEL_COMMAND_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/batch.h"
#include "model/matrix.h"
#include "model/spec.h"

namespace lazynorm {

// What can happen to a model. A command owns none of its numbers and text: they must outlive Apply.

// Fixes the input width of a lazy model.
struct ResolveCommand {
  int in_features = 0;
};

// One learning step.
struct TrainCommand {
  Batch batch;                   // features, targets and weights are finite
  absl::string_view request_id;  // may be empty
  bool freeze_statistics = false;
  // Instead of features: rows that a RememberCommand left under these ids, none of them twice, as
  // known at the time `now`.
  std::vector<absl::string_view> prediction_ids;
  int64_t now = 0;  // microseconds since the epoch
};

// Keeps rows that were predicted for a later TrainCommand that knows their labels. A model has no
// clock, and flags may have changed when a command is repeated: all that decides what is forgotten
// is part of it.
struct RememberCommand {
  std::vector<absl::string_view> ids;  // one a row, none of them twice
  ConstMatrixView features;            // [rows, in_features]
  ConstMatrixView predictions;         // [rows, out_features], raw and in the target's units
  int64_t now = 0, expires = 0;        // microseconds since the epoch
  int64_t max_rows = 0, max_bytes = 0;
};

// Changes how the model learns; what is absent stays.
struct UpdateCommand {
  std::optional<double> learning_rate;
  std::optional<double> clip_grad_norm;
  std::optional<ReplaySpec> replay;
  std::optional<int> updates_per_request;
  std::optional<bool> normalize_targets;
  std::optional<std::vector<ExpertSpec>> experts;
  std::optional<double> hedge_rate, hedge_discount;
  std::optional<std::string> shadow_of;
};

// From now on the running statistics are constants, or move again.
struct FreezeStatisticsCommand {
  bool frozen = true;
};

// Takes the place of all that the model is, its counters included, with what Learner::Save wrote.
struct RestoreCommand {
  ModelSpec spec;
  absl::string_view state;
};

using Command = std::variant<ResolveCommand, TrainCommand, UpdateCommand, FreezeStatisticsCommand,
                             RememberCommand, RestoreCommand>;

// What a Train step gave. Other commands answer with the step alone.
struct StepResult {
  int64_t step = 0;
  double loss = 0;              // of the batch in training mode, before the update
  double prequential_loss = 0;  // of the batch as it would have been predicted before, or was
  double gradient_norm = 0;     // of the heaviest expert's last update, before clipping
  bool drift = false;           // the prequential loss has been found to have risen, see drift.h
  bool replayed = false;        // an earlier result for the same request_id

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.step, self.loss, self.prequential_loss, self.gradient_norm, self.drift,
            self.replayed);
  }
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_COMMAND_H_
