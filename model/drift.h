#ifndef LAZYNORM_MODEL_DRIFT_H_
#define LAZYNORM_MODEL_DRIFT_H_

#include <cstdint>

namespace lazynorm {

// Tells when a model's prequential loss has risen for good: the Page-Hinkley test (Page 1954,
// "Continuous Inspection Schemes"; Hinkley 1971), both ways, on the logarithm of the loss.
//
// Losses are averaged over blocks of at least kBlockRows rows and kBlockSteps steps, so that
// neither the size of requests nor what two neighbours share counts as change. Of each block's mean
// loss:
//
//   v = log(mean), at most kClip away from m        one outlier does not decide
//   z = (v - m) / s, cut at kCut                    m, s: mean and deviation of the blocks so far
//   rise = max(0, rise + z - t)    fall = max(0, fall - z - t)    t = max(kTolerance, kLeast / s)
//   m, s: as of all blocks since the start; from kMemory blocks on exponentially weighted
//
// Drift is rise > kAlarm; then it starts anew. The first kWarmUp blocks after a start decide
// nothing. When fall > kAlarm, the model has learned: m becomes the mean of the blocks since fall
// was last 0, and what comes is compared with that. Figures behind the numbers: model/DESIGN.md. A
// value of fixed size; thread-compatible.
class DriftDetector {
 public:
  static constexpr int64_t kBlockRows = 16, kBlockSteps = 2, kWarmUp = 15, kMemory = 500;
  static constexpr double kTolerance = 0.5;  // deviations
  static constexpr double kLeast = 0.25;     // in log loss: a rise of less than 28 % is none
  static constexpr double kClip = 2;         // in log loss
  static constexpr double kCut = 4;          // deviations
  static constexpr double kAlarm = 15;       // deviations

  // Takes in one Train step: the mean prequential loss of that many rows. True if with it the loss
  // is found to have risen. What is not finite is passed over.
  bool Observe(double loss, int64_t rows, int64_t step);

  // How often it has told of drift, and the step of the latest time; 0 for never.
  int64_t drifts() const { return state_.drifts; }
  int64_t last_drift_step() const { return state_.last_drift_step; }

  // How far the way to an alarm is gone, from 0 to 1.
  double level() const { return state_.rise / kAlarm; }

  // All that Observe depends on.
  struct State {
    double loss_sum = 0;  // of the block under way, over rows
    int64_t rows = 0, steps = 0;
    int64_t blocks = 0;  // since the start
    double mean = 0, variance = 0;
    double rise = 0, fall = 0;
    double fall_sum = 0;  // of v, over the blocks since fall was last 0
    int64_t fall_blocks = 0;
    int64_t drifts = 0, last_drift_step = 0;

    friend bool operator==(const State&, const State&) = default;

    template <class Self, class Archive>
    static void Visit(Self& self, Archive& archive) {
      archive(self.loss_sum, self.rows, self.steps, self.blocks, self.mean, self.variance,
              self.rise, self.fall, self.fall_sum, self.fall_blocks, self.drifts,
              self.last_drift_step);
    }
  };
  const State& state() const { return state_; }

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.state_);
  }

 private:
  // The log of a block's mean loss. True on drift.
  bool ObserveBlock(double v);
  // How far v lies from the mean, at most kClip, enters the test. True on drift.
  bool Test(double distance);

  State state_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_DRIFT_H_
