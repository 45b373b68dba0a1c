#ifndef LAZYNORM_MODEL_WORKSPACE_H_
#define LAZYNORM_MODEL_WORKSPACE_H_

#include <memory>
#include <vector>

#include "model/matrix.h"

namespace lazynorm {

// The memory of one pass through a network, forward and backward: nothing in it outlives the step.
// It belongs to the thread and grows to the largest network that the thread has trained, so that a
// thousand models that wait for their next step hold none, and those that take turns find it in the
// cache. A thread has one pass under way at a time.
class Workspace {
 public:
  struct LayerBuffers {
    Buffer<float> output;  // of the layer
    Buffer<float> packed;  // its weights, as the kernels want them
    Buffer<float> kept;    // for the way back
  };

  // The calling thread's.
  static Workspace& OfThread() {
    thread_local Workspace workspace;
    return workspace;
  }

  // By the layer's place in the network. The reference stays good.
  LayerBuffers& layer(int index) {
    while (static_cast<int>(layers_.size()) <= index) {
      layers_.push_back(std::make_unique<LayerBuffers>());
    }
    return *layers_[index];
  }
  // dLoss/d of what lies between two neighbours.
  Buffer<float>& flow(int index) { return flow_[index % 2]; }

 private:
  std::vector<std::unique_ptr<LayerBuffers>> layers_;
  Buffer<float> flow_[2];
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_WORKSPACE_H_
