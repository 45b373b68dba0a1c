#include "model/drift.h"

#include <algorithm>
#include <cmath>

namespace lazynorm {
namespace {

// Below, a loss counts as this: its logarithm would only show rounding.
constexpr double kLeastLoss = 1e-12;
// Added to the deviation: blocks of equal losses differ by rounding only.
constexpr double kLeastDeviation = 0.02;

}  // namespace

bool DriftDetector::Observe(double loss, int64_t rows, int64_t step) {
  State& s = state_;
  const double sum = s.loss_sum + loss * static_cast<double>(rows);
  if (!std::isfinite(sum)) return false;
  s.loss_sum = sum;
  s.rows += rows;
  ++s.steps;
  if (s.rows < kBlockRows || s.steps < kBlockSteps) return false;
  const double mean = s.loss_sum / static_cast<double>(s.rows);
  s.loss_sum = 0;
  s.rows = s.steps = 0;
  if (!ObserveBlock(std::log(std::max(mean, kLeastLoss)))) return false;
  ++s.drifts;
  s.last_drift_step = step;
  return true;
}

bool DriftDetector::ObserveBlock(double v) {
  State& s = state_;
  if (s.blocks == 0) s.mean = v;
  const double distance = std::clamp(v - s.mean, -kClip, kClip);
  if (s.blocks >= kWarmUp) {
    if (Test(distance)) {
      s = {.drifts = s.drifts, .last_drift_step = s.last_drift_step};
      return true;
    }
    if (s.fall > kAlarm) {
      s.mean = s.fall_sum / static_cast<double>(s.fall_blocks);
      s.blocks = std::max(kWarmUp, s.fall_blocks);
      s.rise = s.fall = 0;
      return false;
    }
  }
  ++s.blocks;
  const double share = 1 / static_cast<double>(std::min(s.blocks, kMemory));
  s.mean += share * distance;
  s.variance += share * ((1 - share) * distance * distance - s.variance);
  return false;
}

bool DriftDetector::Test(double distance) {
  State& s = state_;
  const double deviation = std::sqrt(s.variance) + kLeastDeviation;
  const double z = std::clamp(distance / deviation, -kCut, kCut);
  const double tolerance = std::max(kTolerance, kLeast / deviation);
  s.rise = std::max(0.0, s.rise + z - tolerance);
  if (s.fall == 0) {
    s.fall_sum = 0;
    s.fall_blocks = 0;
  }
  s.fall = std::max(0.0, s.fall - z - tolerance);
  s.fall_sum += s.mean + distance;
  ++s.fall_blocks;
  return s.rise > kAlarm;
}

}  // namespace lazynorm
