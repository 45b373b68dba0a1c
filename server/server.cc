#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "model/kernels.h"
#include "model/status_macros.h"
#include "server/models_dir.h"

namespace lazynorm {
namespace {

// The names of the health service that follow readiness; "liveness" does not.
constexpr const char* kReadyNames[] = {"", "readiness", "lazynorm.v1.ModelService",
                                       "lazynorm.v1.TrainingService",
                                       "lazynorm.v1.PredictionService"};

int Threads(const Options& options) {
  if (options.compute_threads > 0) return options.compute_threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string HealthNameOf(absl::string_view model) {
  return absl::StrCat("models/", model);
}

RequestLimits RequestLimitsOf(const Options& options) {
  return {.max_rows = options.max_rows_per_request, .max_width = options.max_width};
}

}  // namespace

const char* Version() {
  return LAZYNORM_VERSION;
}

Server::Server(const Options& options)
    : options_(options),
      metrics_(Version()),
      trainers_(Threads(options)),
      predictors_(Threads(options)),
      registry_(
          {.max_models = options.max_models,
           .limits = {.max_width = options.max_width, .max_parameters = options.max_parameters},
           .hosting = {.max_queued_steps = options.max_queued_steps,
                       .remember = {.max_rows = options.max_remembered_predictions,
                                    .max_bytes = options.max_remembered_bytes,
                                    .time = options.remember_predictions_for},
                       .trainers = &trainers_,
                       .predictors = &predictors_,
                       .clock = &clock_},
           .on_created = [this](absl::string_view id) { health_.Set(HealthNameOf(id), true); },
           .on_deleted = [this](absl::string_view id) { health_.Remove(HealthNameOf(id)); }},
          metrics_),
      transport_({.listen = options.listen,
                  .credentials = nullptr,
                  .max_message_bytes = static_cast<int>(options.max_message_bytes),
                  .max_streams = options.max_streams,
                  .polling_threads = options.polling_threads},
                 metrics_),
      models_(registry_, transport_, predictors_),
      training_(registry_, transport_, RequestLimitsOf(options)),
      prediction_(registry_, transport_, predictors_, RequestLimitsOf(options)) {}

Server::~Server() {
  Stop(absl::ZeroDuration());
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options) {
  RETURN_IF_ERROR(Validate(options));
  std::unique_ptr<Server> server(new Server(options));
  RETURN_IF_ERROR(server->Open());
  return server;
}

absl::Status Server::Open() {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  SetServing(false);
  health_.Set("liveness", true);
  models_.Register();
  training_.Register();
  prediction_.Register();
  AddHealthService(transport_, health_);
  RETURN_IF_ERROR(transport_.Start());
  if (!options_.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(http_, MetricsHttp::Start(
                                options_.metrics_listen, metrics_, [] { return true; },
                                [this] { return ready_.load(); }));
  }
  if (!options_.models_dir.empty()) {
    RETURN_IF_ERROR(CreateModelsOf(options_.models_dir, registry_));
  }
  transport_.SetPhase(Phase::kServing);
  SetServing(true);
  spdlog::info("event=serving version={} listen={} ports={} metrics_port={} kernels={} threads={}",
               Version(), absl::StrJoin(options_.listen, ","), absl::StrJoin(ports(), ","),
               metrics_port(), std::string(ActiveKernels().level), Threads(options_));
  return absl::OkStatus();
}

void Server::SetServing(bool serving) {
  ready_ = serving;
  for (const char* name : kReadyNames) health_.Set(name, serving);
}

void Server::BeginDrain() {
  SetServing(false);
  spdlog::info("event=draining seconds={}", absl::ToDoubleSeconds(options_.drain));
}

void Server::Stop(absl::Duration grace) {
  SetServing(false);
  transport_.SetPhase(Phase::kDraining);
  // What waits for a step may wait for one that never comes.
  for (const auto& model : registry_.List("", options_.max_models)) {
    model->EndWaits(DrainingError());
  }
  transport_.Shutdown(absl::Now() + grace);
  trainers_.Stop();
  predictors_.Stop();
}

}  // namespace lazynorm
