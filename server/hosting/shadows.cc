#include "server/hosting/shadows.h"

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "model/errors.h"

namespace lazynorm {
namespace {

// One command and the shadows that are still to learn it.
struct Lesson {
  std::atomic<size_t> left;
  absl::AnyInvocable<void()> done;
};

}  // namespace

void TeachShadows(const Registry& registry, absl::string_view model, const TrainCommand& command,
                  absl::AnyInvocable<void()> done) {
  const std::vector<std::shared_ptr<HostedModel>> shadows = registry.ShadowsOf(model);
  if (shadows.empty()) return done();
  const std::shared_ptr<Lesson> lesson(new Lesson{{shadows.size()}, std::move(done)});
  for (const std::shared_ptr<HostedModel>& shadow : shadows) {
    shadow->Submit({.command = command,
                    .done =
                        [shadow, lesson](const absl::StatusOr<StepResult>& result) {
                          if (!result.ok()) {
                            shadow->metrics().TrainRejected(ReasonOf(result.status()));
                          }
                          if (lesson->left.fetch_sub(1) == 1) lesson->done();
                        },
                    .chain = nullptr});
  }
}

}  // namespace lazynorm
