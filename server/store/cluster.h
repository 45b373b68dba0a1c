#ifndef LAZYNORM_SERVER_STORE_CLUSTER_H_
#define LAZYNORM_SERVER_STORE_CLUSTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/store/record.h"

namespace lazynorm {

// A replica as the others know it. Plain value.
struct Replica {
  int64_t id = 0;
  std::string address;  // where the others reach its gRPC: its StoreOptions::advertise
};

// A model and who writes it. Plain value.
struct Holding {
  std::string model;
  int64_t holder = 0;  // a replica's id; 0: released
  int64_t epoch = 0;   // how often the writer has changed; a model made anew begins anew
  bool alive = false;  // whether the holder is among Replicas()
  int64_t heir = 0;    // whom Release named; 0: nobody
  Position end;        // where the model stands: what a follower has to catch up with
};

// What several processes that share one store know of each other. Thread-safe. Calls block on the
// database and answer UNAVAILABLE (STORE_FAILED) while it cannot be reached.
class Cluster {
 public:
  virtual ~Cluster() = default;

  // This replica's id: never used again, never 0. Another one once it was cut off for longer than
  // the lease's timeout: the others have taken it for dead, and all its journals are broken. 0
  // until it has come back.
  virtual int64_t self() const = 0;
  // What only those who may read the store know, of printable characters and the same for all of
  // them: by it a replica knows what another one has brought it. Belongs in no log.
  virtual const std::string& secret() const = 0;
  // Those alive, this one among them, in the order of their ids.
  virtual absl::StatusOr<std::vector<Replica>> Replicas() = 0;
  // Of every model that is not deleted, in the order of their names.
  virtual absl::StatusOr<std::vector<Holding>> Holdings() = 0;
  // Gives a model away, to be Opened by anyone; `heir` should. Its journal must have finished: what
  // it appends later fails. NOT_HOLDER if it is not this replica's, MODEL_NOT_FOUND.
  virtual absl::Status Release(absl::string_view model, int64_t heir) = 0;
  // Blocks until something changed somewhere (a holding, a snapshot, a model; only a hint) or the
  // timeout. May return without either.
  virtual void WaitForChange(absl::Duration timeout) = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_STORE_CLUSTER_H_
