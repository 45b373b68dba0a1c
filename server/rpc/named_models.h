#ifndef LAZYNORM_SERVER_RPC_NAMED_MODELS_H_
#define LAZYNORM_SERVER_RPC_NAMED_MODELS_H_

#include <functional>
#include <string>

namespace lazynorm {

// Calls `see` with each model that a request names: the one it is about, the one to be made, the
// one to be the shadow of. A test holds this to the fields of all requests.
template <typename Request, typename See>
void ForEachNamedModel(const Request& request, const See& see) {
  const auto see_if_given = [&see](const std::string& model) {
    if (!model.empty()) see(model);
  };
  if constexpr (requires { request.model(); }) see_if_given(request.model());
  if constexpr (requires { request.model_id(); }) see_if_given(request.model_id());
  if constexpr (requires { request.name(); }) see_if_given(request.name());
  if constexpr (requires { request.model_name(); }) see_if_given(request.model_name());
  // Where there is no name, some clients send it as this (see RepositoryModelLoad).
  if constexpr (requires { request.model_name() + request.repository_name(); }) {
    if (request.model_name().empty()) see_if_given(request.repository_name());
  }
  if constexpr (requires { request.spec(); }) {
    see_if_given(request.spec().learning().shadow_of());
  }
  if constexpr (requires { request.learning(); }) see_if_given(request.learning().shadow_of());
}

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_NAMED_MODELS_H_
