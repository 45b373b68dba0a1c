#ifndef LAZYNORM_SERVER_MODELS_DIR_H_
#define LAZYNORM_SERVER_MODELS_DIR_H_

#include <string>

#include "absl/status/status.h"
#include "server/hosting/registry.h"

namespace lazynorm {

// Creates a model for each spec in a folder that is not there yet: NAME.textproto or NAME.json, a
// lazynorm.v1.ModelSpec, becomes the model NAME. Other files are left alone. The first file that is
// wrong ends it with an error naming the file.
absl::Status CreateModelsOf(const std::string& folder, Registry& registry);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_MODELS_DIR_H_
