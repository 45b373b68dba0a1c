#ifndef LAZYNORM_SERVER_RPC_ADMISSION_H_
#define LAZYNORM_SERVER_RPC_ADMISSION_H_

#include <memory>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/base/mutex.h"
#include "server/rpc/method.h"

namespace lazynorm {

class PostedCall;

// What the server lets in: nothing yet, everything, or nothing any more.
enum class Phase { kStarting, kServing, kDraining };

// The answer to calls, and the end of streams, in those phases. UNAVAILABLE.
absl::Status StartingError();
absl::Status DrainingError();

// Decides which calls are let in and knows which are there. Thread-safe.
class Admission {
 public:
  // Streams of always_open methods: they are few and small, but not without end.
  static constexpr int kMostAlwaysOpenStreams = 4096;

  explicit Admission(int max_streams) : max_streams_(max_streams) {}

  // Lets `call` in, or says why not: UNAVAILABLE (STARTING, DRAINING) or RESOURCE_EXHAUSTED
  // (TOO_MANY_STREAMS). A stream let in is to be taken out by Leave before the last word is sent.
  absl::Status Enter(PostedCall* call, const Method& method);
  void Leave(PostedCall* call);

  // The phase's answer to a call that comes another way: OK, STARTING or DRAINING.
  absl::Status CheckServing() const;

  // kDraining also tells open streams to end, those of always_open methods excepted.
  void SetPhase(Phase phase);
  // Drains, and tells those streams to end too.
  void Close();

  // PostedCall::Look at all streams.
  void LookAtStreams();
  // PostedCall::Recheck those whose callers must be let in.
  void RecheckStreams();

  // Counts the calls that gRPC knows of, posted ones included, so that its queue outlives them.
  void Posted();
  void Gone();
  void WaitUntilAllGone();

 private:
  absl::Status CheckPhase() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::vector<std::shared_ptr<PostedCall>> Alive(const std::set<PostedCall*>& streams);

  const int max_streams_;
  mutable Mutex mutex_;
  CondVar changed_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kStarting;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<PostedCall*> streams_ ABSL_GUARDED_BY(mutex_);  // counted, ended by draining
  std::set<PostedCall*> always_open_streams_ ABSL_GUARDED_BY(mutex_);
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_ADMISSION_H_
