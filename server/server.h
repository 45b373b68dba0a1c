#ifndef LAZYNORM_SERVER_SERVER_H_
#define LAZYNORM_SERVER_SERVER_H_

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/executor.h"
#include "server/hosting/registry.h"
#include "server/hosting/replicas.h"
#include "server/metrics/http.h"
#include "server/metrics/metrics.h"
#include "server/options.h"
#include "server/rpc/forwarder.h"
#include "server/rpc/health.h"
#include "server/rpc/inference_rest.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/model_service.h"
#include "server/rpc/prediction_service.h"
#include "server/rpc/predictor.h"
#include "server/rpc/training_service.h"
#include "server/rpc/transport.h"
#include "server/security.h"
#include "server/store/store.h"

namespace lazynorm {

// The version of this build, "0.1.0".
const char* Version();

// A whole lazynorm server in this process: builds the rooms, opens the door, drains.
// Life: Start, BeginDrain, Stop (or destruction, which stops at once). Thread-safe.
class Server {
 public:
  // Serves when this returns. INVALID_ARGUMENT for bad options or a bad spec in models_dir,
  // UNAVAILABLE if an address cannot be listened on, or what the store answers. A store that fails
  // for good later ends the process: starting again is the recovery.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options);
  // The same over a store that is open already, whatever options.store says.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options,
                                                       std::unique_ptr<Store> store);
  ~Server();

  // The port bound for each of options.listen, and for metrics (0: none).
  std::vector<int> ports() const { return transport_.ports(); }
  int metrics_port() const { return http_ == nullptr ? 0 : http_->port(); }

  // Tells probes and balancers to go elsewhere; everything is still served. One of several replicas
  // begins to hand its models over.
  void BeginDrain();

  // Refuses new calls, ends streams after their messages in work, finishes what is queued. Calls
  // that are not done after `grace` are cancelled.
  void Stop(absl::Duration grace);

 private:
  Server(const Options& options, std::unique_ptr<Metrics> metrics,
         std::unique_ptr<Security> security, std::unique_ptr<Store> store);
  absl::Status Open();
  void SetServing(bool serving);
  HttpApi RestApi();

  const Options options_;
  RealClock clock_;
  const std::unique_ptr<Metrics> metrics_;
  const std::unique_ptr<Security> security_;
  const std::unique_ptr<Store> store_;
  Health health_;
  Executor trainers_, predictors_;
  // Of one of several replicas; null where this process is alone.
  const std::unique_ptr<Executor> followers_;
  Registry registry_;
  const std::unique_ptr<Replicas> replicas_;
  Transport transport_;
  Forwarder forwarder_;
  ModelService models_;
  TrainingService training_;
  Predictor predictor_;
  PredictionService prediction_;
  std::atomic<bool> ready_ = false;
  InferenceService inference_;
  InferenceRest rest_;
  std::unique_ptr<MetricsHttp> http_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_SERVER_H_
