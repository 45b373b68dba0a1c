#include "server/convert/records.h"

#include <limits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/convert/api.h"
#include "server/convert/spec.h"

namespace lazynorm {
namespace {

using Limit = std::numeric_limits<int>;

// What was accepted once is not measured again: the flags may be others now.
constexpr RequestLimits kNoLimits = {.max_rows = Limit::max(), .max_width = Limit::max()};

absl::Status Damaged(absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "MODEL_DAMAGED", "",
                   absl::StrCat("what the store holds is no ", what));
}

void ToProto(SavedModel&& model, store::v1::SavedModel* proto) {
  *proto->mutable_spec() = ToWholeProto(model.spec);
  proto->set_learner(std::move(model.learner));
  proto->set_create_time_micros(absl::ToUnixMicros(model.create_time));
  proto->set_update_time_micros(absl::ToUnixMicros(model.update_time));
  proto->mutable_averages()->Assign(model.averages.begin(), model.averages.end());
}

struct CommandWriter {
  store::v1::Command* out;

  void operator()(const ResolveCommand& command) const { out->set_resolve(command.in_features); }
  void operator()(const TrainCommand& command) const {
    ToProto(command, out->mutable_train()->mutable_request());
    out->mutable_train()->set_now(command.now);
  }
  void operator()(const UpdateCommand& command) const { *out->mutable_update() = ToProto(command); }
  void operator()(const FreezeStatisticsCommand& command) const {
    out->set_freeze_statistics(command.frozen);
  }
  void operator()(const RememberCommand& command) const {
    store::v1::Remember* proto = out->mutable_remember();
    for (absl::string_view id : command.ids) proto->add_ids(std::string(id));
    ToProto(command.features, proto->mutable_features());
    ToProto(command.predictions, proto->mutable_predictions());
    proto->set_now(command.now);
    proto->set_expires(command.expires);
    proto->set_max_rows(command.max_rows);
    proto->set_max_bytes(command.max_bytes);
  }
  void operator()(const RestoreCommand& command) const {
    store::v1::SavedModel* proto = out->mutable_restore();
    *proto->mutable_spec() = ToWholeProto(command.spec);
    proto->set_learner(std::string(command.state));
  }
};

// Numbers that may have overflowed when they were served.
absl::StatusOr<ConstMatrixView> ReadPredictions(const v1::Matrix& proto) {
  const int64_t rows = proto.rows(), columns = proto.columns();
  if (rows > 0 && columns > 0 && rows * columns == proto.values_size()) {
    return ConstMatrixView(proto.values().data(), rows, columns);
  }
  return Damaged("matrix of predictions");
}

absl::StatusOr<Command> ReadRemember(const store::v1::Remember& proto) {
  RememberCommand command{.ids = {proto.ids().begin(), proto.ids().end()},
                          .now = proto.now(),
                          .expires = proto.expires(),
                          .max_rows = proto.max_rows(),
                          .max_bytes = proto.max_bytes()};
  ASSIGN_OR_RETURN(command.features, ToMatrix(proto.features(), "features", kNoLimits));
  ASSIGN_OR_RETURN(command.predictions, ReadPredictions(proto.predictions()));
  const auto rows = static_cast<int64_t>(command.ids.size());
  if (command.features.rows() == rows && command.predictions.rows() == rows) return command;
  return Damaged("command with an id a row");
}

}  // namespace

std::string ToBytes(SavedModel model) {
  store::v1::SavedModel proto;
  ToProto(std::move(model), &proto);
  return proto.SerializeAsString();
}

absl::StatusOr<SavedModel> SavedModelFromBytes(absl::string_view bytes) {
  store::v1::SavedModel proto;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Damaged("saved model");
  }
  ASSIGN_OR_RETURN(ModelSpec spec, FromProto(proto.spec()));
  return SavedModel{.spec = std::move(spec),
                    .learner = std::move(*proto.mutable_learner()),
                    .create_time = absl::FromUnixMicros(proto.create_time_micros()),
                    .update_time = absl::FromUnixMicros(proto.update_time_micros()),
                    .averages = {proto.averages().begin(), proto.averages().end()}};
}

std::string ToBytes(const Command& command, const CommandTrace& trace) {
  store::v1::Command proto;
  std::visit(CommandWriter{&proto}, command);
  proto.set_time_micros(absl::ToUnixMicros(trace.time));
  proto.set_state_hash(trace.state_hash);
  proto.set_kernels(trace.kernels);
  return proto.SerializeAsString();
}

absl::StatusOr<Command> StoredCommand::Read() const {
  switch (proto_.kind_case()) {
    case store::v1::Command::kResolve:
      return ResolveCommand{proto_.resolve()};
    case store::v1::Command::kTrain: {
      ASSIGN_OR_RETURN(TrainCommand command, ToCommand(proto_.train().request(), kNoLimits));
      command.now = proto_.train().now();
      return command;
    }
    case store::v1::Command::kUpdate:
      return FromProto(proto_.update());
    case store::v1::Command::kFreezeStatistics:
      return FreezeStatisticsCommand{proto_.freeze_statistics()};
    case store::v1::Command::kRemember:
      return ReadRemember(proto_.remember());
    case store::v1::Command::kRestore: {
      ASSIGN_OR_RETURN(ModelSpec spec, FromProto(proto_.restore().spec()));
      return RestoreCommand{std::move(spec), proto_.restore().learner()};
    }
    case store::v1::Command::KIND_NOT_SET:
      break;
  }
  return Damaged("command that this version knows");
}

absl::StatusOr<std::unique_ptr<StoredCommand>> StoredCommand::FromBytes(absl::string_view bytes) {
  std::unique_ptr<StoredCommand> stored(new StoredCommand);
  if (!stored->proto_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Damaged("command");
  }
  ASSIGN_OR_RETURN(stored->command_, stored->Read());
  stored->trace_ = {.time = absl::FromUnixMicros(stored->proto_.time_micros()),
                    .state_hash = stored->proto_.state_hash(),
                    .kernels = stored->proto_.kernels()};
  return stored;
}

}  // namespace lazynorm
