#ifndef LAZYNORM_SERVER_CONVERT_RECORDS_H_
#define LAZYNORM_SERVER_CONVERT_RECORDS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "lazynorm/store/v1/store.pb.h"
#include "model/command.h"
#include "model/learner.h"
#include "model/spec.h"

namespace lazynorm {

// Between the model's own types and what the store keeps of them. Whatever is read back here has
// passed the store's checksums; DATA_LOSS (MODEL_DAMAGED) where it makes no sense all the same.

// A model at one moment. Plain value.
struct SavedModel {
  ModelSpec spec;
  std::string learner;  // Learner::Save
  absl::Time create_time, update_time;
  std::vector<double> averages;  // the host's
};

std::string ToBytes(SavedModel model);
absl::StatusOr<SavedModel> SavedModelFromBytes(absl::string_view bytes);

// What a command did, for whoever repeats it. Plain value.
struct CommandTrace {
  absl::Time time;
  // Learner::StateHash after it and the kernels that computed it; 0 and "" where nobody looked.
  uint64_t state_hash = 0;
  std::string kernels;
};

std::string ToBytes(const Command& command, const CommandTrace& trace);

// A command read back, with the memory that it looks into. Immutable.
class StoredCommand {
 public:
  static absl::StatusOr<std::unique_ptr<StoredCommand>> FromBytes(absl::string_view bytes);

  const Command& command() const { return command_; }
  const CommandTrace& trace() const { return trace_; }

 private:
  StoredCommand() = default;
  absl::StatusOr<Command> Read() const;

  store::v1::Command proto_;
  Command command_;
  CommandTrace trace_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_CONVERT_RECORDS_H_
