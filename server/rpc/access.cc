#include "server/rpc/access.h"

namespace lazynorm {
namespace {

struct Row {
  const char* service;
  const char* method;  // "" is every method of the service
  Access access;
};

constexpr char kModels[] = "lazynorm.v1.ModelService";
constexpr char kTraining[] = "lazynorm.v1.TrainingService";
constexpr char kPrediction[] = "lazynorm.v1.PredictionService";

constexpr Access kOpen{.role = Role::kNobody};
constexpr Access kPredict{.role = Role::kPredict};
constexpr Access kTrain{.role = Role::kTrain};
constexpr Access kTrainAudited{.role = Role::kTrain, .audited = true};
constexpr Access kAdmin{.role = Role::kAdmin, .audited = true};
constexpr Access kAdminOfAll{.role = Role::kAdmin, .all_models = true, .audited = true};

// The handbook has the same table, and the tests hold the server to that one.
constexpr Row kTable[] = {
    {"grpc.health.v1.Health", "", kOpen},
    {"grpc.reflection.v1alpha.ServerReflection", "", kPredict},
    {"inference.GRPCInferenceService", "", kPredict},
    {kPrediction, "", kPredict},
    {kModels, "GetModel", kPredict},
    {kModels, "ListModels", kPredict},
    {kModels, "WatchModel", kPredict},
    {kModels, "ListCheckpoints", kPredict},
    {kTraining, "", kTrain},
    {kModels, "FreezeStatistics", kTrainAudited},
    {kModels, "UnfreezeStatistics", kTrainAudited},
    {kModels, "CreateCheckpoint", kTrainAudited},
    {kModels, "GetModelState", kTrainAudited},
    {kModels, "ExportModel", kTrainAudited},
    {kModels, "Backup", kAdminOfAll},
    {kModels, "", kAdmin},  // all that makes, changes or takes away a model
};

}  // namespace

const char* NameOf(Role role) {
  switch (role) {
    case Role::kNobody:
      return "nobody";
    case Role::kPredict:
      return "predict";
    case Role::kTrain:
      return "train";
    case Role::kAdmin:
      return "admin";
  }
  return "";
}

Access AccessOf(absl::string_view service, absl::string_view method) {
  for (const Row& row : kTable) {
    if (service != row.service) continue;
    if (*row.method == '\0' || method == row.method) return row.access;
  }
  return {};
}

}  // namespace lazynorm
