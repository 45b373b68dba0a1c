#include "server/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "server/metrics/buckets.h"
#include "server/metrics/process_metrics.h"

namespace lazynorm {
namespace {

using prometheus::MetricFamily;

// Canonical codes by number, as Go prints them: that is what dashboards look for.
constexpr const char* kCodeNames[] = {
    "OK",       "Canceled",        "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",   "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",      "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated",
};

const char* TypeName(RpcType type) {
  switch (type) {
    case RpcType::kUnary:
      return "unary";
    case RpcType::kClientStream:
      return "client_stream";
    case RpcType::kServerStream:
      return "server_stream";
    case RpcType::kBidiStream:
      return "bidi_stream";
  }
  return "";
}

prometheus::Counter* AddCounter(prometheus::Registry& registry, const char* name, const char* help,
                                const prometheus::Labels& labels) {
  return &prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

}  // namespace

Metrics::Metrics(absl::string_view version, absl::string_view kernels)
    : start_(absl::Now()),
      registry_(std::make_unique<prometheus::Registry>()),
      commit_seconds_(&prometheus::BuildHistogram()
                           .Name("lazynorm_journal_commit_seconds")
                           .Help("Time of a group commit of the journal.")
                           .Register(*registry_)
                           .Add({}, SecondsBuckets())),
      journal_bytes_(AddCounter(*registry_, "lazynorm_journal_bytes_total",
                                "Bytes of commands that were committed.", {})),
      recovery_seconds_(&prometheus::BuildGauge()
                             .Name("lazynorm_recovery_seconds")
                             .Help("How long reading all models back took at the start.")
                             .Register(*registry_)
                             .Add({})) {
  prometheus::BuildGauge()
      .Name("lazynorm_build_info")
      .Help("Always 1; the labels are the version and the instructions that arithmetic uses.")
      .Register(*registry_)
      .Add({{"version", std::string(version)}, {"kernels", std::string(kernels)}})
      .Set(1);
}

Metrics::~Metrics() = default;

RpcMetrics* Metrics::AddRpc(absl::string_view service, absl::string_view method, RpcType type) {
  const prometheus::Labels labels = {{"grpc_type", TypeName(type)},
                                     {"grpc_service", std::string(service)},
                                     {"grpc_method", std::string(method)}};
  std::unique_ptr<RpcMetrics> rpc(new RpcMetrics());
  rpc->started_ =
      AddCounter(*registry_, "grpc_server_started_total", "Calls that arrived.", labels);
  rpc->received_ = AddCounter(*registry_, "grpc_server_msg_received_total",
                              "Messages received from callers.", labels);
  rpc->sent_ =
      AddCounter(*registry_, "grpc_server_msg_sent_total", "Messages sent to callers.", labels);
  rpc->seconds_ = &prometheus::BuildHistogram()
                       .Name("grpc_server_handling_seconds")
                       .Help("Time from a call's arrival to its end.")
                       .Register(*registry_)
                       .Add(labels, SecondsBuckets());
  for (size_t code = 0; code < rpc->handled_.size(); ++code) {
    prometheus::Labels with_code = labels;
    with_code["grpc_code"] = kCodeNames[code];
    rpc->handled_[code] = AddCounter(*registry_, "grpc_server_handled_total",
                                     "Calls that ended, by status code.", with_code);
  }
  MutexLock lock(&mutex_);
  rpcs_.push_back(std::move(rpc));
  return rpcs_.back().get();
}

std::shared_ptr<ModelMetrics> Metrics::AddModel(absl::string_view model,
                                                absl::Span<const int> batch_norm_layers) {
  auto added = std::make_shared<ModelMetrics>(model, batch_norm_layers);
  MutexLock lock(&mutex_);
  models_[std::string(model)] = added;
  return added;
}

void Metrics::RemoveModel(absl::string_view model) {
  MutexLock lock(&mutex_);
  models_.erase(std::string(model));
}

void Metrics::Committed(absl::Duration time, int64_t bytes) {
  commit_seconds_->Observe(absl::ToDoubleSeconds(time));
  journal_bytes_->Increment(static_cast<double>(bytes));
}

void Metrics::SetRecoverySeconds(double seconds) {
  recovery_seconds_->Set(seconds);
}

void Metrics::SetCertificateExpiry(absl::Time end) {
  prometheus::BuildGauge()
      .Name("lazynorm_certificate_expiry_timestamp_seconds")
      .Help("When the server's certificate ends, since the Unix epoch.")
      .Register(*registry_)
      .Add({})
      .Set(absl::ToDoubleSeconds(end - absl::UnixEpoch()));
}

void Metrics::SetReloadFailed(absl::string_view what, bool failed) {
  prometheus::BuildGauge()
      .Name("lazynorm_reload_failed")
      .Help("1: certificates or tokens have changed to what cannot be used; the old ones count.")
      .Register(*registry_)
      .Add({{"what", std::string(what)}})
      .Set(failed ? 1 : 0);
}

void Metrics::SetReplicas(int64_t replicas, int64_t models_held) {
  const auto add = [this](const char* name, const char* help) {
    return &prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add({});
  };
  MutexLock lock(&mutex_);
  if (replicas_ == nullptr) {
    replicas_ = add("lazynorm_replicas", "Replicas of this store that are alive.");
    models_held_ = add("lazynorm_models_held", "Models that this replica writes.");
  }
  replicas_->Set(static_cast<double>(replicas));
  models_held_->Set(static_cast<double>(models_held));
}

void Metrics::SetReplicasUnreachable(int64_t replicas) {
  prometheus::BuildGauge()
      .Name("lazynorm_replicas_unreachable")
      .Help("Replicas that are alive, but to which this one has had no connection for a while.")
      .Register(*registry_)
      .Add({})
      .Set(static_cast<double>(replicas));
}

void Metrics::Forwarded(absl::string_view method) {
  MutexLock lock(&mutex_);
  prometheus::Counter*& counter = forwarded_[std::string(method)];
  if (counter == nullptr) {
    counter = AddCounter(*registry_, "lazynorm_forwarded_total",
                         "Calls taken to the replica that writes their model.",
                         {{"grpc_method", std::string(method)}});
  }
  counter->Increment();
}

std::string Metrics::Expose() const {
  std::vector<MetricFamily> families = registry_->Collect();
  MetricFamily count = {"lazynorm_models", "Models hosted.", prometheus::MetricType::Gauge, {}};
  std::vector<MetricFamily> of_models = ModelMetrics::Families();
  {
    MutexLock lock(&mutex_);
    count.metric.resize(1);
    count.metric[0].gauge.value = static_cast<double>(models_.size());
    for (const auto& [name, model] : models_) model->Collect(&of_models);
  }
  families.push_back(std::move(count));
  for (MetricFamily& family : ProcessFamilies(start_)) families.push_back(std::move(family));
  std::copy_if(std::make_move_iterator(of_models.begin()), std::make_move_iterator(of_models.end()),
               std::back_inserter(families),
               [](const MetricFamily& family) { return !family.metric.empty(); });
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace lazynorm
