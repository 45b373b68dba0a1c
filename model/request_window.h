#ifndef LAZYNORM_MODEL_REQUEST_WINDOW_H_
#define LAZYNORM_MODEL_REQUEST_WINDOW_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/command.h"

namespace lazynorm {

// The results of the latest requests that carried a request_id, so that a retry is answered again
// and not learned again. A value. Thread-compatible.
class RequestWindow {
 public:
  static constexpr int kCapacity = 4096;

  // The result recorded for `id`, with replayed set; nothing if the id is unknown;
  // REQUEST_ID_REUSED if it came with another payload.
  absl::StatusOr<std::optional<StepResult>> Find(absl::string_view id, uint64_t fingerprint) const;

  // Records a result; the oldest is forgotten beyond kCapacity. `id` must be unknown.
  void Insert(absl::string_view id, uint64_t fingerprint, const StepResult& result);

  template <class Self, class Archive>
  static void Visit(Self& self, Archive& archive) {
    std::vector<Answered> answered;
    if constexpr (Archive::kReading) {
      archive(answered);
      for (const Answered& a : answered) self.Insert(a.id, a.fingerprint, a.result);
    } else {
      for (const std::string& id : self.ids_) {
        const Entry& entry = self.entries_.find(id)->second;
        answered.push_back({id, entry.fingerprint, entry.result});
      }
      archive(answered);
    }
  }

 private:
  struct Entry {
    uint64_t fingerprint;
    StepResult result;
  };
  // An entry with its id, as it is saved.
  struct Answered {
    std::string id;
    uint64_t fingerprint = 0;
    StepResult result;

    template <class Self, class Archive>
    static void Visit(Self& self, Archive& archive) {
      archive(self.id, self.fingerprint, self.result);
    }
  };

  std::deque<std::string> ids_;  // oldest first
  absl::flat_hash_map<std::string, Entry> entries_;
};

// A hash of all that a Train command would learn from, the same on any machine.
uint64_t Fingerprint(const TrainCommand& command);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_REQUEST_WINDOW_H_
