#ifndef LAZYNORM_SERVER_RPC_HEALTH_H_
#define LAZYNORM_SERVER_RPC_HEALTH_H_

#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpc/health/v1/health.pb.h"
#include "server/base/mutex.h"
#include "server/rpc/call.h"

namespace lazynorm {

class Transport;

// grpc.health.v1.Health: who is well, for probes, balancers and people. "" is the whole server; any
// other name means what the one who sets it means. Thread-safe.
class Health {
 public:
  using Request = grpc::health::v1::HealthCheckRequest;
  using Response = grpc::health::v1::HealthCheckResponse;
  using WatchStream = ServerStream<Request, Response>;

  // Makes `name` known, SERVING or NOT_SERVING; those who watch it hear of a change.
  void Set(absl::string_view name, bool serving);
  // Makes `name` unknown again.
  void Remove(absl::string_view name);

  // The status of a known name. NOT_FOUND for another.
  absl::Status Check(const Request& request, Response* response) const;
  // Sends the present status, then each change, the newest to one that reads slowly. An unknown
  // name is SERVICE_UNKNOWN until it becomes known.
  void Watch(std::shared_ptr<WatchStream> stream);

 private:
  Response StatusOf(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unwatch(const std::shared_ptr<WatchStream>& stream);

  mutable Mutex mutex_;
  std::map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::set<std::shared_ptr<WatchStream>>> watchers_ ABSL_GUARDED_BY(mutex_);
};

// Serves `health`, which must outlive the transport, in every phase.
void AddHealthService(Transport& transport, Health& health);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_HEALTH_H_
