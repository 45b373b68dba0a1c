#include "server/hosting/replicas.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/base/log_text.h"
#include "server/store/record.h"

namespace lazynorm {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Time = SteadyClock::time_point;

// However often the store says that something has changed, the looks leave it room to breathe.
constexpr absl::Duration kBreath = absl::Milliseconds(5);
// How soon the looking thread notices that it is to stop.
constexpr absl::Duration kGlance = absl::Milliseconds(100);
constexpr auto kReviewEvery = std::chrono::seconds(1);
// Before something that has failed is done to a model again.
constexpr auto kPause = std::chrono::seconds(1);
constexpr absl::Duration kFirstTakes = absl::Seconds(20);

// A shadow learns where its model does: they belong to the same replica.
std::string KeyOf(const HostedModel& model) {
  const std::string& of = model.view()->spec->learning.shadow_of;
  return of.empty() ? model.id() : of;
}

bool IsIn(const std::vector<Replica>& replicas, int64_t id) {
  return std::any_of(replicas.begin(), replicas.end(),
                     [id](const Replica& r) { return r.id == id; });
}

}  // namespace

std::vector<Replica> Ranked(std::vector<Replica> replicas, absl::string_view key) {
  const auto weight = [key](const Replica& r) {
    return std::make_pair(ContentHash(absl::StrCat(r.address, " ", key)), r.id);
  };
  std::sort(replicas.begin(), replicas.end(),
            [&](const Replica& a, const Replica& b) { return weight(a) > weight(b); });
  return replicas;
}

Replicas::Replicas(Registry& registry, Executor& executor, Metrics& metrics,
                   ReplicasOptions options)
    : registry_(registry),
      executor_(executor),
      metrics_(metrics),
      options_(options),
      cluster_(*registry.store().cluster()) {}

Replicas::~Replicas() {
  Stop();
}

void Replicas::Start(OnLook on_look) {
  on_look_ = std::move(on_look);
  Look();
  WaitForWork(absl::Now() + kFirstTakes);
  thread_ = std::thread([this] { Loop(); });
}

void Replicas::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  WaitForWork(absl::InfiniteFuture());
  std::vector<absl::AnyInvocable<void()>> waiting;
  {
    MutexLock lock(&mutex_);
    waiting = std::exchange(after_look_, {});
  }
  for (auto& done : waiting) done();
}

bool Replicas::WaitForWork(absl::Time until) {
  MutexLock lock(&mutex_);
  while (works_ > 0) {
    if (!changed_.WaitUntil(&mutex_, until)) return works_ == 0;
  }
  return true;
}

Writer Replicas::WriterOf(absl::string_view model) const {
  MutexLock lock(&mutex_);
  const auto found = writers_.find(model);
  return found == writers_.end() ? Writer{} : found->second;
}

void Replicas::AfterLook(absl::AnyInvocable<void()> done) {
  {
    MutexLock lock(&mutex_);
    if (!stopping_) return after_look_.push_back(std::move(done));
  }
  done();
}

void Replicas::Loop() {
  while (Rest()) Look();
}

// Until something has changed or it is time for the next look. False: there is to be none.
bool Replicas::Rest() {
  const absl::Time begin = absl::Now(), end = begin + options_.interval;
  const absl::Time breath = seen_.ok() ? std::min(begin + kBreath, end) : end;
  bool changed = !seen_.ok();  // the store has nothing to say
  for (absl::Time now = begin; !changed && now < end && !stopping(); now = absl::Now()) {
    const absl::Time glance = std::min(now + kGlance, end);
    cluster_.WaitForChange(glance - now);
    changed = absl::Now() < glance;
  }
  MutexLock lock(&mutex_);
  while (!stopping_ && absl::Now() < breath) changed_.WaitUntil(&mutex_, breath);
  return !stopping_;
}

bool Replicas::stopping() const {
  MutexLock lock(&mutex_);
  return stopping_;
}

absl::Status Replicas::See(Sight& sight, std::vector<Holding>& holdings) {
  sight.begin = SteadyClock::now();
  sight.self = cluster_.self();  // before the holdings: they are never older than it
  ASSIGN_OR_RETURN(sight.replicas, cluster_.Replicas());
  ASSIGN_OR_RETURN(holdings, cluster_.Holdings());
  return absl::OkStatus();
}

void Replicas::Look() {
  std::vector<absl::AnyInvocable<void()>> waiting;
  {
    MutexLock lock(&mutex_);
    waiting = std::exchange(after_look_, {});
  }
  Sight sight;
  std::vector<Holding> holdings;
  const absl::Status seen = See(sight, holdings);
  if (seen.ok()) {
    Arrange(sight, holdings);
  } else {
    TellOutage(sight.begin);
  }
  if (seen.code() != seen_.code()) {
    spdlog::log(seen.ok() ? spdlog::level::info : spdlog::level::warn,
                "event=replicas replicas={} message={}", sight.replicas.size(),
                LogText(seen.ok() ? "the store answers again" : seen.message()));
  }
  seen_ = seen;
  for (auto& done : waiting) done();
}

void Replicas::Arrange(const Sight& sight, const std::vector<Holding>& holdings) {
  ++looks_;
  Publish(sight, holdings);
  if (on_look_) on_look_(sight.replicas);
  moves_left_ = 0;
  if (sight.begin >= next_review_) {
    next_review_ = sight.begin + kReviewEvery;
    moves_left_ = options_.moves_per_second;
  }
  int64_t held = 0;
  for (const Holding& holding : holdings) {
    held += sight.self != 0 && holding.holder == sight.self ? 1 : 0;
    Care& care = care_[holding.model];
    care.seen = looks_;
    if (!care.work->busy) Place(sight, holding, care);
  }
  ForgetTheDeleted(sight);
  metrics_.SetReplicas(static_cast<int64_t>(sight.replicas.size()), held);
}

void Replicas::Publish(const Sight& sight, const std::vector<Holding>& holdings) {
  std::map<int64_t, std::string> addresses;
  for (const Replica& replica : sight.replicas) addresses[replica.id] = replica.address;
  std::map<std::string, Writer, std::less<>> writers;
  for (const Holding& h : holdings) {
    const auto found = addresses.find(h.holder);
    if (!h.alive || found == addresses.end()) continue;
    writers.emplace(h.model, Writer{h.holder == sight.self, h.holder, found->second});
  }
  MutexLock lock(&mutex_);
  writers_.swap(writers);
}

void Replicas::Place(const Sight& sight, const Holding& holding, Care& care) {
  const auto model = registry_.Find(holding.model);
  if (!model.ok()) {
    if (absl::IsNotFound(model.status())) BeginFollowing(holding.model, care);
    return;
  }
  if ((*model)->role_since() >= sight.begin) return;  // what was seen may be older
  if ((*model)->writes()) {
    Write(sight, holding, *model, care);
  } else {
    Follow(sight, holding, *model, care);
  }
}

void Replicas::Write(const Sight& sight, const Holding& holding,
                     const std::shared_ptr<HostedModel>& model, Care& care) {
  care.up_to_date = sight.begin;
  care.target = 0;
  care.steps_behind = 0;
  care.orphan_since = Time();
  model->metrics().SetReplicaLag(absl::ZeroDuration(), 0);
  if (sight.self == 0 || holding.holder != sight.self) {
    spdlog::warn("event=model_lost model={} holder={}", model->id(), holding.holder);
    return model->LoseModel();
  }
  if (const int64_t heir = HeirOf(sight, *model); heir != 0) HandOver(model, heir, care);
}

void Replicas::Follow(const Sight& sight, const Holding& holding,
                      const std::shared_ptr<HostedModel>& model, Care& care) {
  const auto view = model->view();
  if (care.up_to_date == Time()) care.up_to_date = sight.begin;
  if (view->at.seq >= care.target) {  // a target is set by the look before
    if (care.target != 0) care.up_to_date = care.target_time;
    care.target = holding.end.seq;
    care.target_time = sight.begin;
  }
  const bool behind = holding.end.seq > view->at.seq;
  if (!behind) care.up_to_date = sight.begin;
  care.steps_behind = behind ? std::max<int64_t>(0, holding.end.step - view->step) : 0;
  model->metrics().SetReplicaLag(absl::FromChrono(sight.begin - care.up_to_date),
                                 care.steps_behind);
  const bool mine = sight.self != 0 && holding.holder == sight.self;
  if (!holding.alive && care.orphan_since == Time()) care.orphan_since = sight.begin;
  if (holding.alive) care.orphan_since = Time();
  if (mine || MayTake(sight, holding, *model, care)) return Take(model, care);
  if (behind) model->CatchUp();
}

bool Replicas::MayTake(const Sight& sight, const Holding& holding, const HostedModel& model,
                       Care& care) {
  if (holding.alive || leaving_ || sight.self == 0) return false;
  if (sight.begin < care.work->not_before.load()) return false;
  const std::vector<Replica> ranked = Ranked(sight.replicas, KeyOf(model));
  const auto self = std::find_if(ranked.begin(), ranked.end(),
                                 [&](const Replica& r) { return r.id == sight.self; });
  int64_t rank = self - ranked.begin();
  if (holding.heir == sight.self) {
    rank = 0;
  } else if (holding.heir != 0 && IsIn(ranked, holding.heir)) {
    ++rank;
  }
  return absl::FromChrono(sight.begin - care.orphan_since) >= rank * options_.patience;
}

int64_t Replicas::HeirOf(const Sight& sight, const HostedModel& model) {
  if (leaving_) {
    for (const Replica& replica : Ranked(sight.replicas, KeyOf(model))) {
      if (replica.id != sight.self) return replica.id;
    }
    return 0;
  }
  if (moves_left_ <= 0) return 0;
  if (absl::FromChrono(sight.begin - model.role_since()) < options_.settle) return 0;
  const std::vector<Replica> ranked = Ranked(sight.replicas, KeyOf(model));
  if (ranked.empty() || ranked.front().id == sight.self) return 0;
  --moves_left_;
  return ranked.front().id;
}

void Replicas::ForgetTheDeleted(const Sight& sight) {
  for (auto it = care_.begin(); it != care_.end();) {
    const bool deleted = it->second.seen != looks_ && !it->second.work->busy;
    it = deleted ? care_.erase(it) : std::next(it);
  }
  if (registry_.size() == static_cast<int>(care_.size())) return;
  for (const std::string& id : registry_.Names()) {
    if (care_.contains(id)) continue;
    const auto model = registry_.Find(id);
    if (model.ok() && (*model)->role_since() >= sight.begin) continue;  // made meanwhile
    registry_.Forget(id);
  }
}

// Nobody knows what the others have learned.
void Replicas::TellOutage(Time now) {
  for (const auto& [id, care] : care_) {
    const auto model = registry_.Find(id);
    if (!model.ok() || care.up_to_date == Time()) continue;
    (*model)->metrics().SetReplicaLag(absl::FromChrono(now - care.up_to_date), care.steps_behind);
  }
}

std::shared_ptr<Replicas::Work> Replicas::BeginWork(Care& care) {
  care.work->busy = true;
  MutexLock lock(&mutex_);
  ++works_;
  return care.work;
}

void Replicas::EndWork(Work& work, absl::string_view event, absl::string_view model,
                       const absl::Status& status) {
  if (status.ok()) {
    spdlog::info("event={} model={}", std::string(event), std::string(model));
  } else if (ReasonOf(status) != "NOT_HOLDER" && !absl::IsNotFound(status)) {
    spdlog::warn("event={}_failed model={} message={}", std::string(event), std::string(model),
                 LogText(status.message()));
    work.not_before = SteadyClock::now() + kPause;
  }
  work.busy = false;
  MutexLock lock(&mutex_);
  --works_;
  changed_.NotifyAll();
}

void Replicas::BeginFollowing(const std::string& id, Care& care) {
  if (SteadyClock::now() < care.work->not_before.load()) return;
  executor_.Run([this, id, work = BeginWork(care)] {
    EndWork(*work, "model_followed", id, registry_.Follow(id));
  });
}

void Replicas::Take(const std::shared_ptr<HostedModel>& model, Care& care) {
  if (SteadyClock::now() < care.work->not_before.load()) return;
  model->StartWriting([this, model, work = BeginWork(care)](const absl::Status& status) {
    if (status.ok()) {
      registry_.SetShadow(model->id(), model->view()->spec->learning.shadow_of);
    }
    EndWork(*work, "model_taken", model->id(), status);
  });
}

void Replicas::HandOver(const std::shared_ptr<HostedModel>& model, int64_t heir, Care& care) {
  model->StopWriting([this, model, heir, work = BeginWork(care)](absl::Status status) {
    executor_.Run([this, model, heir, work, status = std::move(status)]() mutable {
      if (status.ok()) status = cluster_.Release(model->id(), heir);
      EndWork(*work, "model_handed_over", model->id(), status);
    });
  });
}

}  // namespace lazynorm
