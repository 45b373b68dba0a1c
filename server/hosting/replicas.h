#ifndef LAZYNORM_SERVER_HOSTING_REPLICAS_H_
#define LAZYNORM_SERVER_HOSTING_REPLICAS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/executor.h"
#include "server/base/mutex.h"
#include "server/hosting/registry.h"
#include "server/metrics/metrics.h"
#include "server/store/cluster.h"

namespace lazynorm {

struct ReplicasOptions {
  // How often this replica looks at what the others do; what follows it is at most about this late.
  absl::Duration interval = absl::Milliseconds(50);
  // A model without a writer is taken by the replica that should have it at once, by the next one
  // this much later, and so on.
  absl::Duration patience = absl::Milliseconds(100);
  // A model stays where it has come to for so long; then it is handed to the replica that should
  // have it, so many a second.
  absl::Duration settle = absl::Seconds(10);
  int moves_per_second = 5;
};

// The replicas in the order in which they should hold a model: rendezvous hashing (Thaler &
// Ravishankar 1998) of `key` and their addresses. All replicas see the same order, and one that
// comes or goes moves no models but its own.
std::vector<Replica> Ranked(std::vector<Replica> replicas, absl::string_view key);

// Where a model is written. Plain value.
struct Writer {
  bool here = false;
  int64_t replica = 0;  // 0: nowhere
  std::string address;
};

// What this process does as one of several replicas of a store: one thread that looks at it now and
// then, takes models that nobody writes, hands over those that another replica should write, and
// has all the others followed. Thread-safe.
class Replicas {
 public:
  // Hears of the replicas alive after each look, on this object's thread.
  using OnLook = std::function<void(const std::vector<Replica>&)>;

  // All outlive this. `registry.store().cluster()` is not null. What blocks runs on `executor`.
  Replicas(Registry& registry, Executor& executor, Metrics& metrics, ReplicasOptions options);
  // Stops.
  ~Replicas();

  // Takes what it should hold, once, before it returns; then goes on.
  void Start(OnLook on_look);
  // Begins to hand over all models, if there is another replica, and takes no more.
  void Leave() { leaving_ = true; }
  // No more looks; what is held stays held.
  void Stop();

  // This replica's id now, see Cluster::self.
  int64_t self() const { return cluster_.self(); }
  // As of the latest look.
  Writer WriterOf(absl::string_view model) const;
  // Calls `done` on this object's thread after a look that begins from now on, be it a vain one.
  // After Stop: inline.
  void AfterLook(absl::AnyInvocable<void()> done);

 private:
  using Time = std::chrono::steady_clock::time_point;

  // What a look has seen.
  struct Sight {
    Time begin;
    int64_t self = 0;
    std::vector<Replica> replicas;
  };
  // Something that is done to a model beside the looks: one at a time, and not at once again after
  // it has failed.
  struct Work {
    std::atomic<bool> busy = false;
    std::atomic<Time> not_before = Time();
  };
  // What is remembered of a model from look to look.
  struct Care {
    std::shared_ptr<Work> work = std::make_shared<Work>();
    int64_t seen = 0;   // the latest look that saw it
    Time orphan_since;  // Time(): it has a writer
    // What is served here is as new as the store was at `up_to_date`; with `target` it is as new as
    // at `target_time`.
    Time up_to_date, target_time;
    int64_t target = 0;
    int64_t steps_behind = 0;
  };

  void Loop();
  bool Rest();
  bool stopping() const;
  void Look();
  absl::Status See(Sight& sight, std::vector<Holding>& holdings);
  void Arrange(const Sight& sight, const std::vector<Holding>& holdings);
  void Place(const Sight& sight, const Holding& holding, Care& care);
  void Write(const Sight& sight, const Holding& holding, const std::shared_ptr<HostedModel>& model,
             Care& care);
  void Follow(const Sight& sight, const Holding& holding, const std::shared_ptr<HostedModel>& model,
              Care& care);
  bool MayTake(const Sight& sight, const Holding& holding, const HostedModel& model, Care& care);
  // Whom a model that is written here should be given to now; 0 for nobody.
  int64_t HeirOf(const Sight& sight, const HostedModel& model);
  void ForgetTheDeleted(const Sight& sight);
  void Publish(const Sight& sight, const std::vector<Holding>& holdings);
  void TellOutage(Time now);

  // Each begins a Work, whose end is EndWork.
  void BeginFollowing(const std::string& id, Care& care);
  void Take(const std::shared_ptr<HostedModel>& model, Care& care);
  void HandOver(const std::shared_ptr<HostedModel>& model, int64_t heir, Care& care);
  std::shared_ptr<Work> BeginWork(Care& care);
  void EndWork(Work& work, absl::string_view event, absl::string_view model,
               const absl::Status& status);
  bool WaitForWork(absl::Time until);

  Registry& registry_;
  Executor& executor_;
  Metrics& metrics_;
  const ReplicasOptions options_;
  Cluster& cluster_;
  OnLook on_look_;

  // The looking thread's alone.
  std::map<std::string, Care, std::less<>> care_;
  int64_t looks_ = 0;
  Time next_review_;
  int moves_left_ = 0;  // of this look
  absl::Status seen_;   // how the latest look ended
  std::thread thread_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int works_ ABSL_GUARDED_BY(mutex_) = 0;  // under way
  std::vector<absl::AnyInvocable<void()>> after_look_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Writer, std::less<>> writers_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> leaving_ = false;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_REPLICAS_H_
