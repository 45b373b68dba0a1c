#include "server/rpc/transport.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/rpc/guard.h"

// gRPC's headers are compiled into this program, but the queue that hands an operation from one
// thread to another is not, so ThreadSanitizer cannot see that it does. Only races between lines of
// gRPC's, and of what it calls to parse and to keep callbacks, are hidden; with a line of ours on
// top they are still reported.
#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions() {
  return "race_top:^grpc::\n"
         "race_top:^google::protobuf::\n"
         "race_top:^lazynorm::v1::\n"
         "race_top:^inference::\n"
         "race_top:std::swap<\n"
         "race_top:^std::_Function_base\n"
         // A unary answer's status, written by the thread that finishes the call; and gRPC's own
         // thread pool. Neither calls anything of ours.
         "race:^grpc::internal::CallOpServerSendStatus::\n"
         "race:^grpc_event_engine::experimental::ThreadPool::Queue::\n";
}
#endif

namespace lazynorm {
namespace {

// How many calls of a method gRPC may hand out before the first of them is looked at.
constexpr int kPostedUnary = 16;
constexpr int kPostedStreams = 2;

constexpr int kConcurrentCalls = 1000;  // of one connection; more wait at the caller
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr absl::Duration kRecheckStreams = absl::Seconds(1);
constexpr int kMostPingsMs = 10'000;  // a caller that asks more often is sent away

}  // namespace

Transport::Transport(TransportOptions options, Metrics& metrics)
    : options_(std::move(options)), metrics_(metrics), admission_(options_.max_streams) {}

Transport::~Transport() {
  Shutdown(absl::InfinitePast());
}

Method* Transport::AddMethod(absl::string_view service, absl::string_view name, RpcType type,
                             MethodOptions options) {
  auto method = std::make_unique<Method>();
  method->service = std::string(service);
  method->name = std::string(name);
  method->type = type;
  method->options = options;
  method->metrics = metrics_.AddRpc(service, name, type);
  method->access = AccessOf(service, name);
  method->admission = &admission_;
  method->guard = options_.guard != nullptr && options_.guard->active() ? options_.guard : nullptr;
  method->replica_secret = options_.replica_secret;
  method->timers = &timers_;
  methods_.push_back(std::move(method));
  return methods_.back().get();
}

absl::Status Transport::Start() {
  if (absl::Status complete = CheckEveryMethodHasAHandler(); !complete.ok()) return complete;
  grpc::ServerBuilder builder;
  SetChannelArguments(builder);
  ports_.assign(options_.listen.size(), 0);
  for (size_t i = 0; i < options_.listen.size(); ++i) {
    const std::string& address = options_.listen[i];
    const bool plain = options_.credentials == nullptr || absl::StartsWith(address, "unix");
    builder.AddListeningPort(
        address, plain ? grpc::InsecureServerCredentials() : options_.credentials, &ports_[i]);
  }
  for (const std::unique_ptr<grpc::Service>& service : services_) {
    builder.RegisterService(service.get());
  }
  queue_ = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return CannotListen();
  for (const std::unique_ptr<Method>& method : methods_) {
    method->queue = queue_.get();
    const int calls = method->type == RpcType::kUnary ? kPostedUnary : kPostedStreams;
    for (int i = 0; i < calls; ++i) method->post();
  }
  for (int i = 0; i < std::max(options_.polling_threads, 1); ++i) {
    pollers_.emplace_back([this] { Poll(); });
  }
  LookAtStreamsLater();
  RecheckStreamsLater();
  return absl::OkStatus();
}

void Transport::SetChannelArguments(grpc::ServerBuilder& builder) const {
  builder.SetMaxReceiveMessageSize(options_.max_message_bytes);
  builder.SetMaxSendMessageSize(-1);
  // Otherwise two servers would share a port without a word.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             std::max(kConcurrentCalls, options_.max_streams));
  // A caller that is gone without a word is found out, and ours may find out about us.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMostPingsMs);
}

void Transport::LookAtStreamsLater() {
  if (options_.max_stream_idle == absl::InfiniteDuration()) return;
  RunAt(absl::Now() + options_.max_stream_idle / PostedCall::kQuietLooks, [this] {
    admission_.LookAtStreams();
    LookAtStreamsLater();
  });
}

// A stream that sends nothing, or only sends, has no message at which it could be refused.
void Transport::RecheckStreamsLater() {
  if (options_.guard == nullptr || !options_.guard->active()) return;
  RunAt(absl::Now() + kRecheckStreams, [this] {
    admission_.RecheckStreams();
    RecheckStreamsLater();
  });
}

absl::Status Transport::CannotListen() {
  const auto taken = std::find(ports_.begin(), ports_.end(), 0);
  return absl::UnavailableError(absl::StrCat("cannot listen on ",
                                             taken == ports_.end()
                                                 ? absl::StrJoin(options_.listen, ", ")
                                                 : options_.listen[taken - ports_.begin()],
                                             ": is the address taken, or not of this machine?"));
}

std::vector<std::string> Transport::services() const {
  std::set<std::string> names;
  for (const std::unique_ptr<Method>& method : methods_) names.insert(method->service);
  return {names.begin(), names.end()};
}

absl::Status Transport::CheckEveryMethodHasAHandler() const {
  std::set<std::string> missing;
  for (const std::string& name : services()) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) return absl::InternalError(absl::StrCat("no service ", name));
    for (int i = 0; i < service->method_count(); ++i) {
      missing.insert(absl::StrCat(name, "/", service->method(i)->name()));
    }
  }
  for (const std::unique_ptr<Method>& method : methods_) {
    missing.erase(absl::StrCat(method->service, "/", method->name));
  }
  if (missing.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("no handler for ", absl::StrJoin(missing, ", ")));
}

std::shared_ptr<Timer> Transport::RunAt(absl::Time when, absl::AnyInvocable<void()> fn) {
  return timers_.RunAt(queue_.get(), when, std::move(fn));
}

void Transport::Poll() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) static_cast<Tag*>(tag)->Arrive(ok);
}

void Transport::Shutdown(absl::Time deadline) {
  if (queue_ == nullptr || shut_down_) return;
  shut_down_ = true;
  if (server_ != nullptr) {
    admission_.Close();
    server_->Shutdown(absl::ToChronoTime(std::max(deadline, absl::UnixEpoch())));
    admission_.WaitUntilAllGone();
  }
  timers_.Close();
  queue_->Shutdown();
  if (pollers_.empty()) Poll();  // a queue must be emptied even if it was never used
  for (std::thread& poller : pollers_) poller.join();
}

}  // namespace lazynorm
