#include "server/models_dir.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lazynorm/v1/spec.pb.h"
#include "model/status_macros.h"
#include "server/convert/api.h"
#include "server/convert/spec.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<v1::ModelSpec> ReadSpec(const fs::path& path) {
  std::ostringstream text;
  std::ifstream file(path);
  text << file.rdbuf();
  if (!file) return absl::NotFoundError("the file cannot be read");
  v1::ModelSpec spec;
  if (path.extension() == ".json") {
    const auto status = google::protobuf::util::JsonStringToMessage(text.str(), &spec);
    if (!status.ok()) return absl::InvalidArgumentError(std::string(status.message()));
  } else if (!google::protobuf::TextFormat::ParseFromString(text.str(), &spec)) {
    return absl::InvalidArgumentError("expected a lazynorm.v1.ModelSpec in protobuf text format");
  }
  // Text may hold other bytes, which could be kept and not be read again.
  if (!v1::ModelSpec().ParseFromString(spec.SerializeAsString())) {
    return absl::InvalidArgumentError("expected names in UTF-8");
  }
  return spec;
}

absl::Status CreateModelOf(const fs::path& path, Registry& registry) {
  const std::string id = path.stem().string();
  RETURN_IF_ERROR(CheckModelId(id));
  if (!absl::IsNotFound(registry.Find(id).status())) return absl::OkStatus();
  ASSIGN_OR_RETURN(const v1::ModelSpec proto, ReadSpec(path));
  ASSIGN_OR_RETURN(ModelSpec spec, FromProto(proto));
  const absl::Status created = registry.Create(id, std::move(spec), {}).status();
  return absl::IsAlreadyExists(created) ? absl::OkStatus() : created;  // by another replica
}

}  // namespace

absl::Status CreateModelsOf(const std::string& folder, Registry& registry) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".json" || extension == ".textproto") paths.push_back(entry.path());
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat("--models_dir ", folder, ": ", error.message()));
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    if (const absl::Status status = CreateModelOf(path, registry); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace lazynorm
