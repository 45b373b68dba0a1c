#ifndef LAZYNORM_MODEL_SPARE_STATES_H_
#define LAZYNORM_MODEL_SPARE_STATES_H_

#include <algorithm>
#include <atomic>
#include <iterator>
#include <utility>
#include <vector>

#include "model/layer.h"
#include "model/optimizer.h"

namespace lazynorm {

// A place for all that a step writes.
struct SpareState {
  NetworkState network;
  OptimizerState optimizer;

  bool empty() const { return network.parameters.size() == 0; }
  // Whether the other's numbers, of the same kinds, would fit in exactly.
  bool Fits(const NetworkState& n, const OptimizerState& o) const {
    return network.parameters.size() == n.parameters.size() &&
           network.statistics.size() == n.statistics.size() &&
           network.counters.size() == n.counters.size() &&
           optimizer.moments.size() == o.moments.size();
  }
};

// The places that steps of this process write to. A step borrows one of the size of its model and
// leaves there, when it has taken the place of the true state, what was true before: so there are
// as many as steps under way, not as models. Thread-safe, and nobody waits: who finds another
// thread here makes do without.
class SpareStates {
 public:
  static SpareStates& OfProcess() {
    static auto* const spares = new SpareStates();
    return *spares;
  }

  // One that fits; what it holds is undefined. Allocates if there is none.
  SpareState Take(const NetworkState& network, const OptimizerState& optimizer) {
    SpareState spare;
    IfAlone([&] {
      // What was used last is still in the cache.
      const auto found = std::find_if(spares_.rbegin(), spares_.rend(), [&](const SpareState& s) {
        return s.Fits(network, optimizer);
      });
      if (found == spares_.rend()) return;
      spare = std::move(*found);
      spares_.erase(std::next(found).base());
    });
    if (spare.empty()) spare = {network, optimizer};
    return spare;
  }

  // Takes one back, and lets go of the one that nobody has wanted for longest if there are many.
  void Give(SpareState spare) {
    SpareState oldest;  // freed when others may come again
    IfAlone([&] {
      if (spares_.size() == kMost) {
        oldest = std::move(spares_.front());
        spares_.erase(spares_.begin());
      }
      spares_.push_back(std::move(spare));
    });
  }

 private:
  // Enough for models of a few sizes that take turns on a few cores.
  static constexpr size_t kMost = 16;

  SpareStates() { spares_.reserve(kMost); }

  template <class Work>
  void IfAlone(Work work) {
    if (busy_.test_and_set(std::memory_order_acquire)) return;
    work();
    busy_.clear(std::memory_order_release);
  }

  std::atomic_flag busy_;
  std::vector<SpareState> spares_;  // of who has set busy_; last given last
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_SPARE_STATES_H_
