// How a Learner is saved and read back.
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/archive.h"
#include "model/errors.h"
#include "model/learner.h"
#include "model/random.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

// Of what Save writes; another number whenever that changes.
constexpr int32_t kFormat = 1;

// What any server ever allowed: a spec that was accepted once may be beyond the limits of today.
constexpr Limits kWidest = {.max_width = 1 << 20,
                            .max_parameters = std::numeric_limits<int64_t>::max(),
                            .max_replay_values = std::numeric_limits<int64_t>::max()};

}  // namespace

template <class Self, class Archive>
bool Learner::VisitExperts(Self& self, Archive& archive) {
  bool same = true;
  for (auto& expert : self.experts_) {
    const auto sizes = [&] {
      return std::array<int64_t, 4>{expert.state.parameters.size(), expert.state.statistics.size(),
                                    std::ssize(expert.state.counters),
                                    expert.moments.moments.size()};
    };
    const auto before = sizes();
    archive(expert.state, expert.moments, expert.replay);
    same = same && sizes() == before;
  }
  return same;
}

std::string Learner::Save() const {
  std::string state;
  StateWriter archive(&state);
  archive(kFormat, in_features(), step_, rows_trained_, frozen_);
  VisitExperts(*this, archive);
  archive(hedge_, scale_, requests_, remembered_, drift_, diagnostics_);
  return state;
}

// Whether what was read fits together: later nobody looks.
bool Learner::Fits() const {
  bool fits = true;
  remembered_.ForEach([&](const RememberedPredictions::Row& row) {
    const int outputs = OutFeatures(spec_, static_cast<int>(row.features.size()));
    fits = fits && std::ssize(row.prediction) == outputs;
  });
  if (lazy()) return fits;
  const int outputs = network_->out_features();
  for (const Expert& expert : experts_) {
    fits = fits && expert.replay.rows().Fit(in_features(), outputs);
  }
  const bool scaled = spec_.learning.normalize_targets;
  return fits && hedge_.Fit(experts_.size()) && (!scaled || scale_.Fit(outputs));
}

absl::Status Learner::ReadState(absl::string_view state) {
  StateReader archive(state);
  int32_t format = 0;
  int in_features = 0;
  archive(format, in_features, step_, rows_trained_, frozen_);
  if (!archive.ok() || format != kFormat) {
    return InvalidState("state", absl::StrCat("expected format ", kFormat, ", got ", format));
  }
  if (in_features > 0) {
    RETURN_IF_ERROR(CheckWidth(in_features));
    Resolve(in_features);
  }
  const bool fits = VisitExperts(*this, archive);
  archive(hedge_, scale_, requests_, remembered_, drift_, diagnostics_);
  next_hedge_ = hedge_;
  next_scale_ = scale_;
  if (archive.ok() && archive.at_end() && fits && Fits()) return absl::OkStatus();
  return InvalidState("state", "expected the whole state of a model with this spec");
}

absl::StatusOr<std::unique_ptr<Learner>> Learner::Load(ModelSpec spec, const Limits& limits,
                                                       absl::string_view state) {
  RETURN_IF_ERROR(Validate(spec, kWidest));
  std::unique_ptr<Learner> learner(new Learner(std::move(spec), limits));
  RETURN_IF_ERROR(learner->ReadState(state));
  return learner;
}

uint64_t Learner::StateHash() const {
  uint64_t hash = Mix(step_);
  const auto absorb = [&hash](const auto& numbers) {
    hash = AbsorbBytes(hash, numbers.data(), numbers.size() * sizeof(*numbers.data()));
  };
  for (const Expert& expert : experts_) {
    absorb(expert.state.parameters);
    absorb(expert.state.statistics);
    absorb(expert.moments.moments);
  }
  absorb(hedge_.weights());
  absorb(scale_.mean());
  return hash;
}

}  // namespace lazynorm
