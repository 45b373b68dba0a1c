#include "server/server.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "model/kernels.h"
#include "model/status_macros.h"
#include "server/base/log_text.h"
#include "server/convert/inference_json.h"
#include "server/models_dir.h"
#include "server/rpc/reflection.h"

namespace lazynorm {
namespace {

// The names of the health service that follow readiness; "liveness" does not.
constexpr const char* kReadyNames[] = {"",
                                       "readiness",
                                       "lazynorm.v1.ModelService",
                                       "lazynorm.v1.TrainingService",
                                       "lazynorm.v1.PredictionService",
                                       "inference.GRPCInferenceService"};

// Nobody waits for a learning step as for a prediction: where cores are scarce, the latter come
// first. Learning is still to go on beside predictions that would fill every core: at 19 it hardly
// does.
constexpr int kTrainersGiveWay = 15;

// How long beyond the lease's timeout a call waits for another replica to take its model.
constexpr absl::Duration kTakeover = absl::Seconds(2);

// Large predictions may wait until together they are as large as so many of the largest requests.
constexpr int64_t kQueuedMessages = 4;

// "" where this process is alone.
std::string SecretOf(Store& store) {
  return store.cluster() == nullptr ? "" : store.cluster()->secret();
}

int Threads(const Options& options) {
  if (options.compute_threads > 0) return options.compute_threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string HealthNameOf(absl::string_view model) {
  return absl::StrCat("models/", model);
}

// Where the database is, if there is one.
std::string ScratchFolder(const Options& options) {
  const std::string uri = StoreUri(options);
  absl::string_view path = uri;
  if (!absl::ConsumePrefix(&path, "sqlite://")) return "";
  return std::filesystem::path(std::string(path)).parent_path();
}

// What cannot be kept cannot be promised: the process ends, and starting again is the recovery.
[[noreturn]] void EndProcess(const std::string& message) {
  spdlog::critical("event=store_failed message={}", LogText(message));
  spdlog::default_logger()->flush();
  constexpr int kIoError = 74;  // EX_IOERR
  _exit(kIoError);
}

StoreOptions StoreOptionsOf(const Options& options, Metrics* metrics) {
  const std::map<std::string, Durability> levels = {
      {"fsync", Durability::kFsync}, {"async", Durability::kAsync}, {"none", Durability::kNone}};
  return {.durability = levels.at(options.durability),
          .snapshots_per_model = options.snapshots_per_model,
          .checkpoints_per_model = options.checkpoints_per_model,
          .advertise = Advertised(options),
          .lease_timeout = options.lease_timeout,
          .hooks = {.on_commit = [metrics](absl::Duration time, int64_t /*records*/,
                                           int64_t bytes) { metrics->Committed(time, bytes); },
                    .on_warning =
                        [](const std::string& message) {
                          spdlog::warn("event=store message={}", LogText(message));
                        },
                    .on_fatal = EndProcess}};
}

// Threads that may wait for the database; null where this process is alone.
std::unique_ptr<Executor> MakeFollowers(Store& store) {
  constexpr int kThreads = 4;
  if (store.cluster() == nullptr) return nullptr;
  return std::make_unique<Executor>(kThreads, kTrainersGiveWay);
}

// What may keep other replicas from reaching this one, though it could be meant.
void WarnOfAddress(const Options& options, Cluster& cluster) {
  const std::string address = Advertised(options);
  const auto warn = [&address](const char* message) {
    spdlog::warn("event=advertise address={} message={}", LogText(address), LogText(message));
  };
  if (AdvertisesLoopback(options)) {
    warn("replicas on other machines cannot reach this one there: expected another --advertise");
  }
  const auto replicas = cluster.Replicas();
  if (!replicas.ok()) return;
  for (const Replica& replica : *replicas) {
    if (replica.id != cluster.self() && replica.address == address) {
      return warn("another replica advertises the same: expected an address of its own for each");
    }
  }
}

// What the largest model's file may be: a float for each parameter and statistic, and a header.
int64_t MaxImportBytes(const Options& options) {
  return 8 * options.max_parameters + (int64_t{32} << 20);
}

RequestLimits RequestLimitsOf(const Options& options) {
  return {.max_rows = options.max_rows_per_request, .max_width = options.max_width};
}

}  // namespace

const char* Version() {
  return LAZYNORM_VERSION;
}

Server::Server(const Options& options, std::unique_ptr<Metrics> metrics,
               std::unique_ptr<Security> security, std::unique_ptr<Store> store)
    : options_(options),
      metrics_(std::move(metrics)),
      security_(std::move(security)),
      store_(std::move(store)),
      trainers_(Threads(options), kTrainersGiveWay),
      predictors_(Threads(options)),
      followers_(MakeFollowers(*store_)),
      registry_(
          {.max_models = options.max_models,
           .limits = {.max_width = options.max_width, .max_parameters = options.max_parameters},
           .hosting = {.max_queued_steps = options.max_queued_steps,
                       .max_step_bytes = options.max_step_bytes,
                       .remember = {.max_rows = options.max_remembered_predictions,
                                    .max_bytes = options.max_remembered_bytes,
                                    .time = options.remember_predictions_for},
                       .trainers = &trainers_,
                       .predictors = &predictors_,
                       .followers = followers_.get(),
                       .clock = &clock_,
                       .store = store_.get(),
                       .replay_budget = options.replay_budget},
           .on_created = [this](absl::string_view id,
                                bool serving) { health_.Set(HealthNameOf(id), serving); },
           .on_deleted = [this](absl::string_view id) { health_.Remove(HealthNameOf(id)); }},
          *metrics_),
      replicas_(followers_ == nullptr ? nullptr
                                      : std::make_unique<Replicas>(
                                            registry_, *followers_, *metrics_,
                                            ReplicasOptions{.interval = options.follow_interval})),
      transport_({.listen = options.listen,
                  .credentials = security_->credentials(),
                  .max_message_bytes = static_cast<int>(options.max_message_bytes),
                  .max_streams = options.max_streams,
                  .max_stream_idle = options.max_stream_idle,
                  .polling_threads = options.polling_threads,
                  .guard = &security_->guard(),
                  .replica_secret = SecretOf(*store_)},
                 *metrics_),
      forwarder_(registry_, replicas_.get(), transport_, *metrics_,
                 {.credentials = security_->peer_credentials(),
                  .secret = SecretOf(*store_),
                  .patience = options.lease_timeout + kTakeover}),
      models_(registry_, transport_, forwarder_, predictors_, ScratchFolder(options), Version(),
              MaxImportBytes(options)),
      training_(registry_, transport_, forwarder_, RequestLimitsOf(options)),
      predictor_(registry_, transport_, forwarder_, predictors_,
                 kQueuedMessages * options.max_message_bytes / int64_t{sizeof(float)}),
      prediction_(registry_, transport_, forwarder_, predictor_, RequestLimitsOf(options)),
      inference_(registry_, transport_, predictor_, RequestLimitsOf(options), Version(),
                 [this] { return ready_.load(); }),
      rest_(inference_, transport_, security_->guard()) {}

Server::~Server() {
  Stop(absl::ZeroDuration());
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options) {
  return Start(options, nullptr);
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options,
                                                      std::unique_ptr<Store> store) {
  RETURN_IF_ERROR(Validate(options));
  const std::string uri = StoreUri(options);
  if (!options.restore_from.empty()) RETURN_IF_ERROR(RestoreBackup(uri, options.restore_from));
  UseKernels(options.cpu == "auto" ? AvailableKernels().front()->level : options.cpu);
  auto metrics = std::make_unique<Metrics>(Version(), ActiveKernels().level);
  ASSIGN_OR_RETURN(auto security, Security::Open(options, *metrics));
  if (store == nullptr) {
    ASSIGN_OR_RETURN(store, OpenStore(uri, StoreOptionsOf(options, metrics.get())));
  }
  std::unique_ptr<Server> server(
      new Server(options, std::move(metrics), std::move(security), std::move(store)));
  RETURN_IF_ERROR(server->Open());
  return server;
}

absl::Status Server::Open() {
  SetServing(false);
  health_.Set("liveness", true);
  models_.Register();
  training_.Register();
  prediction_.Register();
  inference_.Register();
  AddHealthService(transport_, health_);
  if (options_.reflection) AddReflectionService(transport_);
  RETURN_IF_ERROR(transport_.Start());
  if (!options_.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(http_, MetricsHttp::Start(
                                options_.metrics_listen, *metrics_, [] { return true; },
                                [this] { return ready_.load(); }, options_.web_page, RestApi()));
  }
  RETURN_IF_ERROR(registry_.Recover(options_.recover == "strict"));
  if (replicas_ != nullptr) {
    WarnOfAddress(options_, *store_->cluster());
    replicas_->Start([this](const std::vector<Replica>& alive) { forwarder_.OnLook(alive); });
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

// Rows and tokens are for no one else to read.
HttpApi Server::RestApi() {
  if (!IsLocal(options_.metrics_listen) && !options_.insecure) {
    return {.answer = [](const HttpRequest&) -> HttpAnswer {
      return {.code = 403,
              .body = ErrorToJson("other machines would reach this in plain text: expected "
                                  "--metrics_listen on the loopback, or --insecure")};
    }};
  }
  return {.answer = [this](const HttpRequest& request) { return rest_.Answer(request); },
          .max_body_bytes = options_.max_message_bytes};
}

void Server::SetServing(bool serving) {
  ready_ = serving;
  for (const char* name : kReadyNames) health_.Set(name, serving);
}

void Server::BeginDrain() {
  SetServing(false);
  spdlog::info("event=draining seconds={}", absl::ToDoubleSeconds(options_.drain));
  if (replicas_ != nullptr) replicas_->Leave();
}

void Server::Stop(absl::Duration grace) {
  SetServing(false);
  transport_.SetPhase(Phase::kDraining);
  // What waits for a step may wait for one that never comes.
  for (const auto& model : registry_.List("", options_.max_models)) {
    model->EndWaits(DrainingError());
  }
  forwarder_.Drain();
  transport_.Shutdown(absl::Now() + grace);
  if (replicas_ != nullptr) replicas_->Stop();
  registry_.Flush();
  trainers_.Stop();
  predictors_.Stop();
  if (followers_ != nullptr) followers_->Stop();
}

}  // namespace lazynorm
