#ifndef LAZYNORM_CLIENT_CLI_TRAIN_RUN_H_
#define LAZYNORM_CLIENT_CLI_TRAIN_RUN_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/cli/baseline.h"
#include "client/cli/batches.h"
#include "client/cli/features.h"
#include "client/cli/scoreboard.h"
#include "client/client.h"

namespace lazynorm {

struct TrainOptions {
  std::string path;
  ColumnOptions columns;
  int batch = 32;
  int epochs = 1;
  int window = 16;
  bool freeze_statistics = false;
  int64_t report_every = 0;
  double skip_first = 0;
  std::string baseline;  // "": none
};

// One pass, or several, of a table through TrainStream, with every row scored before it is learned
// from: the server answers each request's prequential loss, so pipelining does not flatter the
// model. Used once. Thread-compatible.
class TrainRun {
 public:
  // Called for each answer with the share of the file that is sent, negative where unknown, and the
  // period that ended, or null.
  using OnProgress = std::function<void(double share, const Score* period)>;

  TrainRun(Client client, v1::Model model, TrainOptions options);

  // An error in the table ends the run after what came before it is trained.
  absl::Status Run(OnProgress on_progress);

  const Scoreboard& scores() const { return scores_; }
  // The model's step at the latest answer.
  int64_t step() const { return step_; }
  // The first row of the last epoch.
  int64_t last_epoch_row() const { return last_epoch_row_; }

 private:
  absl::Status SendEpoch(int epoch, TrainStream* stream);
  v1::TrainRequest ToRequest(const Batch& batch) const;
  ScoredBatch ScoreBaseline(const Batch& batch, int epoch);
  void OnAnswer(const v1::TrainResponse& response);

  const Client client_;
  const v1::Model model_;
  const TrainOptions options_;
  std::unique_ptr<Baseline> baseline_;
  Scoreboard scores_;
  std::deque<ScoredBatch> sent_;  // and not answered
  OnProgress on_progress_;
  double share_ = -1;
  int64_t rows_sent_ = 0;
  int64_t last_epoch_row_ = 0;
  int64_t step_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_TRAIN_RUN_H_
