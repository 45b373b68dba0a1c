#include "server/rpc/health.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "model/errors.h"
#include "server/rpc/transport.h"

namespace lazynorm {

void Health::Set(absl::string_view name, bool serving) {
  const std::string key(name);
  MutexLock lock(&mutex_);
  const auto [entry, added] = serving_.emplace(key, serving);
  if (!added && entry->second == serving) return;
  entry->second = serving;
  Tell(key);
}

void Health::Remove(absl::string_view name) {
  const std::string key(name);
  MutexLock lock(&mutex_);
  if (serving_.erase(key) > 0) Tell(key);
}

absl::Status Health::Check(const Request& request, Response* response) const {
  MutexLock lock(&mutex_);
  *response = StatusOf(request.service());
  if (response->status() != Response::SERVICE_UNKNOWN) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, "SERVICE_UNKNOWN", "service",
                   absl::StrCat("expected a known name, got \"", request.service(), "\""));
}

void Health::Watch(std::shared_ptr<WatchStream> stream) {
  {
    MutexLock lock(&mutex_);
    const std::string& name = stream->request().service();
    watchers_[name].insert(stream);
    stream->WriteLatest(StatusOf(name));
  }
  WatchStream* const raw = stream.get();
  raw->OnCancel([this, stream = std::move(stream)] { Unwatch(stream); });
}

void Health::Unwatch(const std::shared_ptr<WatchStream>& stream) {
  MutexLock lock(&mutex_);
  const auto watchers = watchers_.find(stream->request().service());
  if (watchers == watchers_.end()) return;
  watchers->second.erase(stream);
  if (watchers->second.empty()) watchers_.erase(watchers);
}

Health::Response Health::StatusOf(const std::string& name) const {
  Response response;
  const auto found = serving_.find(name);
  response.set_status(found == serving_.end() ? Response::SERVICE_UNKNOWN
                      : found->second         ? Response::SERVING
                                              : Response::NOT_SERVING);
  return response;
}

// Under the lock, so that changes arrive in order; a stream only takes the message.
void Health::Tell(const std::string& name) const {
  const auto watchers = watchers_.find(name);
  if (watchers == watchers_.end()) return;
  for (const std::shared_ptr<WatchStream>& stream : watchers->second) {
    stream->WriteLatest(StatusOf(name));
  }
}

void AddHealthService(Transport& transport, Health& health) {
  using Service = grpc::health::v1::Health::AsyncService;
  constexpr char kName[] = "grpc.health.v1.Health";
  const MethodOptions always_open = {.always_open = true};
  Service* service = transport.AddService(std::make_unique<Service>());
  transport.AddUnary(
      service, &Service::RequestCheck, kName, "Check",
      [&health](const Health::Request& request, Health::Response* response) {
        return health.Check(request, response);
      },
      always_open);
  transport.AddServerStream(
      service, &Service::RequestWatch, kName, "Watch",
      [&health](std::shared_ptr<Health::WatchStream> stream) { health.Watch(std::move(stream)); },
      always_open);
}

}  // namespace lazynorm
