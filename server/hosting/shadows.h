#ifndef LAZYNORM_SERVER_HOSTING_SHADOWS_H_
#define LAZYNORM_SERVER_HOSTING_SHADOWS_H_

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "model/command.h"
#include "server/hosting/registry.h"

namespace lazynorm {

// Gives a Train command that `model` has accepted to its shadows (Learning.shadow_of), in the order
// of the calls, and calls `done` when all have answered: a caller who waits for answers cannot run
// away from a slow shadow. What a shadow refuses, because its queue is full, say, counts as its own
// rejected step and concerns nobody else. `command`'s memory must live until `done`. Thread-safe.
void TeachShadows(const Registry& registry, absl::string_view model, const TrainCommand& command,
                  absl::AnyInvocable<void()> done);

// The same for the rows that `model` remembers (RememberCommand): each shadow remembers them too,
// with the predictions that it would have served itself.
void RememberInShadows(const Registry& registry, absl::string_view model,
                       const RememberCommand& command, absl::AnyInvocable<void()> done);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_HOSTING_SHADOWS_H_
