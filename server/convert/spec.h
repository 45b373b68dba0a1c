#ifndef LAZYNORM_SERVER_CONVERT_SPEC_H_
#define LAZYNORM_SERVER_CONVERT_SPEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lazynorm/v1/model_service.pb.h"
#include "lazynorm/v1/spec.pb.h"
#include "model/command.h"
#include "model/spec.h"

namespace lazynorm {

// A spec as asked for, mlp expanded. INVALID_SPEC where the message itself is wrong (both mlp and
// layers, a layer of no kind, an unknown enum value); the rest is Validate's.
absl::StatusOr<ModelSpec> FromProto(const v1::ModelSpec& proto);

// The same spec with every default written out and layers in the place of mlp.
v1::ModelSpec ToProto(const ModelSpec& spec);
// With what has no effect at present too: FromProto gives back the same spec.
v1::ModelSpec ToWholeProto(const ModelSpec& spec);

// What an UpdateModel asks to change. An absent mask means the fields that are set, "*" all of
// them. INVALID_UPDATE for an unknown path or an empty update.
absl::StatusOr<UpdateCommand> FromProto(const v1::UpdateModelRequest& proto);

// The same change, naming no model.
v1::UpdateModelRequest ToProto(const UpdateCommand& command);

// ToWholeProto and FromProto in protobuf's JSON. INVALID_SPEC for what is none.
std::string ToJson(const ModelSpec& spec);
absl::StatusOr<ModelSpec> SpecFromJson(absl::string_view json);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_CONVERT_SPEC_H_
