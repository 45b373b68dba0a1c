#include "server/hosting/shadows.h"

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "model/errors.h"

namespace lazynorm {
namespace {

// One command and the shadows that have not done with it.
struct Lesson {
  std::atomic<size_t> left;
  absl::AnyInvocable<void()> done;

  void DoneByOne() {
    if (left.fetch_sub(1) == 1) done();
  }
};

// Remembers in one shadow, and then calls `done`.
void Remember(const std::shared_ptr<HostedModel>& shadow, const RememberCommand& command,
              absl::AnyInvocable<void()> done) {
  const int columns = static_cast<int>(command.features.cols());
  shadow->WithPlan(columns, [=, done = std::move(done)](
                                const absl::StatusOr<std::shared_ptr<const Plan>>& plan) mutable {
    if (!plan.ok() || (*plan)->in_features() != columns) return done();
    auto own = std::make_unique<Matrix>(command.features.rows(), (*plan)->out_features());
    (*plan)->Predict(command.features, ViewOf(*own));
    RememberCommand its = command;
    its.predictions = ViewOf(std::as_const(*own));
    shadow->Submit({.command = std::move(its),
                    .done = [own = std::move(own), done = std::move(done)](
                                const absl::StatusOr<StepResult>&) mutable { done(); },
                    .chain = nullptr});
  });
}

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
                          lesson->DoneByOne();
                        },
                    .chain = nullptr});
  }
}

void RememberInShadows(const Registry& registry, absl::string_view model,
                       const RememberCommand& command, absl::AnyInvocable<void()> done) {
  const std::vector<std::shared_ptr<HostedModel>> shadows = registry.ShadowsOf(model);
  if (shadows.empty()) return done();
  const std::shared_ptr<Lesson> lesson(new Lesson{{shadows.size()}, std::move(done)});
  for (const std::shared_ptr<HostedModel>& shadow : shadows) {
    Remember(shadow, command, [lesson] { lesson->DoneByOne(); });
  }
}

}  // namespace lazynorm
