#ifndef LAZYNORM_SERVER_RPC_ACCESS_H_
#define LAZYNORM_SERVER_RPC_ACCESS_H_

#include "absl/strings/string_view.h"

namespace lazynorm {

// What a caller may do; each role may do what those before it may.
enum class Role { kNobody, kPredict, kTrain, kAdmin };

// "predict", "train" or "admin".
const char* NameOf(Role role);

// What a method asks of its callers.
struct Access {
  Role role = Role::kAdmin;  // kNobody: open to all, also to callers without a token
  bool all_models = false;   // not for a caller who is bound to some models
  bool audited = false;      // each call is logged
};

// The one table of who may call what. A method that is not in it is the administrator's.
Access AccessOf(absl::string_view service, absl::string_view method);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_ACCESS_H_
