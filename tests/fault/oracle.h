#ifndef LAZYNORM_TESTS_FAULT_ORACLE_H_
#define LAZYNORM_TESTS_FAULT_ORACLE_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "lazynorm/v1/model_service.pb.h"
#include "lazynorm/v1/training_service.pb.h"

namespace lazynorm {

// What servers that are killed have acknowledged, and what a Learner in this process makes of it.

// An acknowledged Train.
struct Step {
  v1::TrainRequest request;
  v1::TrainResponse answer;
};

// A small model with all that makes its state long: experts, replay, normalised targets.
v1::ModelSpec TrialSpec();
// Four random labelled rows for it.
v1::TrainRequest TrialRequest(const std::string& model, const std::string& id,
                              std::mt19937_64& random);

// What was found; all but the first should be 0.
struct Findings {
  int64_t steps = 0;      // acknowledged
  int64_t lost = 0;       // of them
  int64_t twice = 0;      // taken more than once, or taken and never acknowledged
  int64_t different = 0;  // results or states that are not an uninterrupted learner's

  void Add(const Findings& other);
  bool good() const { return lost == 0 && twice == 0 && different == 0; }
};

// Of one model: every step that was acknowledged, in any order, and the state that it has at last.
Findings HoldAgainstOracle(std::vector<Step> steps, const v1::GetModelStateResponse& state);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_FAULT_ORACLE_H_
