#ifndef LAZYNORM_CLIENT_CLI_PRESET_H_
#define LAZYNORM_CLIENT_CLI_PRESET_H_

#include "lazynorm/v1/spec.pb.h"

namespace lazynorm {

// Fills in what `spec`, an mlp, leaves open with what learns well on streams: rows in order, a few
// at a time, from a world that changes. One setting for all of them, chosen by measurement over
// real and synthetic streams (tests/bench/streams):
//
//   hidden 32, 16; batch norm on the input and after each hidden layer, all with running statistics
//   of momentum 0.003; Adam with lr 0.01; gradient norm cut at 1; regression targets normalised;
//   four experts: one row by row as it comes, one that takes 4 updates a request, and two that
//   replay 64 of 10000 kept rows beside it, with 1 and with 6 updates.
//
// The mlp is written out into layers, so its out_features must be known by then. An optimizer other
// than Adam and a rate that is set stay as they are; so does a clip_grad_norm if `keep_clip`.
void ApplyStreamPreset(bool keep_clip, v1::ModelSpec* spec);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_PRESET_H_
