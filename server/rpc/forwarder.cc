#include "server/rpc/forwarder.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lazynorm/v1/prediction_service.pb.h"
#include "model/errors.h"
#include "server/base/log_text.h"
#include "server/rpc/status.h"
#include "server/rpc/step_wait.h"
#include "server/rpc/tag.h"

namespace lazynorm {
namespace {

// What of the caller's metadata goes with it.
constexpr const char* kPassedOn[] = {"authorization", "traceparent", "tracestate"};
constexpr absl::Duration kTryAgain = absl::Milliseconds(10);

absl::Status HolderLost() {
  return MakeError(absl::StatusCode::kUnavailable, "HOLDER_LOST", "",
                   "the replica that writes the model went away: it is unknown whether this was "
                   "done; a Train that carries a request_id can be sent again safely");
}

// It is alive, or the store would say otherwise.
absl::Status Unreachable(absl::string_view address) {
  return MakeError(
      absl::StatusCode::kUnavailable, "NO_WRITER", "",
      absl::StrCat(
          "the replica that writes this model, ", address,
          ", cannot be reached from here: look at its --advertise, at the network, and with "
          "TLS at the names and the authority of its certificate (--tls_client_ca)"));
}

absl::Status TooMany() {
  return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "",
                   "too many calls wait for other replicas already; try again shortly");
}

// Said by gRPC and not by the other replica.
bool ConnectionLost(const grpc::Status& status) {
  if (!status.error_details().empty()) return false;
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::CANCELLED ||
         absl::StrContains(status.error_message(), "Stream removed");
}

// The other replica has certainly not begun with it.
bool WasNotBegun(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason == "NO_WRITER" || reason == "STARTING" || reason == "DRAINING";
}

}  // namespace

// One call on its way to the replica that writes its model: tries until it is answered, until this
// replica is the one, or until it is too late. Keeps itself alive. Thread-safe.
class Errand : public std::enable_shared_from_this<Errand> {
 public:
  Errand(Forwarder& forwarder, const Route& route, std::string model)
      : forwarder_(forwarder), route_(route), model_(std::move(model)) {}

  // To be set before Try.
  grpc::ByteBuffer request;
  std::vector<std::pair<std::string, std::string>> metadata;
  absl::Time deadline, give_up;
  Call* owner = nullptr;  // the call that it is, which cancels it; null: it is part of one
  Forwarder::Answer<grpc::ByteBuffer> done;
  absl::AnyInvocable<void()> here;

  void Try();
  // Ends it, also while it is under way.
  void Cancel();
  // Lets an attempt that is under way come to its end, but makes no other.
  void Drain();
  // Ends the attempt if it is under way to a replica that is not among these.
  void GiveUpOnOthers(const std::set<int64_t>& alive);

 private:
  // One attempt; gRPC's until its tag comes back.
  struct Attempt {
    grpc::ClientContext context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
    grpc::ByteBuffer response;
    grpc::Status status;
  };

  bool Cancelled();
  // Tries again in a moment, or after the next look.
  void Later(bool looked = false);
  void Send(const Writer& writer, Forwarder::Peer peer);
  void OnEnd(bool ok);
  void End(absl::StatusOr<grpc::ByteBuffer> answer);
  void Leave();

  Forwarder& forwarder_;
  const Route route_;
  const std::string model_;
  MemberTag<Errand, &Errand::OnEnd> tag_{this};
  bool looked_ = false;  // of whoever tries
  bool counted_ = false;
  std::string unreachable_;  // the writer's address, when it was last tried in vain
  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t replica_ ABSL_GUARDED_BY(mutex_) = 0;  // of the attempt
  std::unique_ptr<Attempt> attempt_ ABSL_GUARDED_BY(mutex_);
};

void Errand::Try() {
  const auto model = forwarder_.registry_.Find(model_);
  const Writer writer = forwarder_.replicas_->WriterOf(model_);
  const bool unknown = absl::IsNotFound(model.status());
  const bool answers = model.ok() && ((*model)->writes() || !route_.at_writer);
  const bool nowhere = unknown ? looked_ && writer.replica == 0 : !model.ok();
  if (answers || nowhere) {
    if (owner != nullptr) owner->TakenTo("");
    Leave();
    return here();
  }
  if (absl::Now() >= give_up) {
    return End(unreachable_.empty() ? NoWriter() : Unreachable(unreachable_));
  }
  if (unknown && !looked_ && writer.replica == 0) return Later(/*looked=*/true);
  if (writer.replica == 0 || writer.here) return Later();
  Forwarder::Peer peer = forwarder_.ConnectedTo(writer.address);
  unreachable_ = peer.channel == nullptr ? writer.address : "";
  if (peer.channel == nullptr) return Later();
  Send(writer, std::move(peer));
}

void Errand::Later(bool looked) {
  if (Cancelled()) return End(absl::CancelledError("nobody waits for it any more"));
  auto again = [self = shared_from_this(), looked] {
    self->looked_ |= looked;
    self->Try();
  };
  if (looked) return forwarder_.replicas_->AfterLook(std::move(again));
  forwarder_.transport_.RunAt(absl::Now() + kTryAgain, std::move(again));
}

void Errand::Send(const Writer& writer, Forwarder::Peer peer) {
  auto attempt = std::make_unique<Attempt>();
  grpc::ClientContext& context = attempt->context;
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  context.AddMetadata(kForwardedKey, forwarder_.options_.secret);
  if (owner != nullptr) owner->TakenTo(writer.address);
  if (deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
  attempt->reader =
      peer.stub->PrepareUnaryCall(&context, absl::StrCat("/", route_.service, "/", route_.method),
                                  request, forwarder_.transport_.queue());
  if (!std::exchange(counted_, true)) forwarder_.metrics_.Forwarded(route_.method);
  {
    MutexLock lock(&mutex_);
    if (!cancelled_) {
      attempt_ = std::move(attempt);
      replica_ = writer.replica;
      attempt_->reader->StartCall();
      attempt_->reader->Finish(&attempt_->response, &attempt_->status, tag_.Send());
      return;
    }
  }
  End(absl::CancelledError("nobody waits for it any more"));
}

void Errand::OnEnd(bool /*ok*/) {
  std::unique_ptr<Attempt> attempt;
  {
    MutexLock lock(&mutex_);
    attempt = std::move(attempt_);
  }
  if (attempt->status.ok()) return End(std::move(attempt->response));
  const bool lost = ConnectionLost(attempt->status);
  const absl::Status status = FromGrpcStatus(attempt->status);
  if (lost ? route_.repeatable : WasNotBegun(status)) return Later();
  End(lost ? HolderLost() : status);
}

void Errand::Cancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  if (attempt_ != nullptr) attempt_->context.TryCancel();
}

bool Errand::Cancelled() {
  MutexLock lock(&mutex_);
  return cancelled_;
}

void Errand::Drain() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
}

void Errand::GiveUpOnOthers(const std::set<int64_t>& alive) {
  MutexLock lock(&mutex_);
  if (attempt_ != nullptr && alive.count(replica_) == 0) attempt_->context.TryCancel();
}

// The forwarder may be gone when what follows has answered the call.
void Errand::Leave() {
  const auto self = shared_from_this();
  MutexLock lock(&forwarder_.mutex_);
  forwarder_.errands_.erase(this);
}

void Errand::End(absl::StatusOr<grpc::ByteBuffer> answer) {
  const auto self = shared_from_this();
  Leave();
  done(std::move(answer));
}

Forwarder::Forwarder(const Registry& registry, Replicas* replicas, Transport& transport,
                     Metrics& metrics, ForwarderOptions options)
    : registry_(registry),
      replicas_(replicas),
      transport_(transport),
      metrics_(metrics),
      options_(std::move(options)) {}

Forwarder::~Forwarder() = default;

void Forwarder::OnLook(const std::vector<Replica>& replicas) {
  std::set<int64_t> alive;
  std::set<std::string> addresses;
  for (const Replica& replica : replicas) {
    alive.insert(replica.id);
    addresses.insert(replica.address);
  }
  std::vector<std::shared_ptr<Errand>> errands;
  {
    MutexLock lock(&mutex_);
    for (auto it = peers_.begin(); it != peers_.end();) {
      it = addresses.count(it->first) > 0 ? std::next(it) : peers_.erase(it);
    }
    for (const auto& [key, errand] : errands_) errands.push_back(errand);
  }
  for (const auto& errand : errands) errand->GiveUpOnOthers(alive);
  for (const Replica& replica : replicas) {
    if (replica.id != replicas_->self()) ConnectedTo(replica.address);
  }
  TellUnreachable(replicas);
}

void Forwarder::TellUnreachable(const std::vector<Replica>& replicas) {
  const absl::Time now = absl::Now();
  int64_t unreachable = 0;
  MutexLock lock(&mutex_);
  for (const Replica& replica : replicas) {
    const auto found = peers_.find(replica.address);
    if (replica.id == replicas_->self() || found == peers_.end()) continue;
    Peer& peer = found->second;
    if (now - peer.missed_since < options_.patience) continue;
    ++unreachable;
    if (std::exchange(peer.told, true)) continue;
    spdlog::warn("event=replica_unreachable address={}", LogText(replica.address));
  }
  metrics_.SetReplicasUnreachable(unreachable);
}

Forwarder::Peer Forwarder::ConnectedTo(const std::string& address) {
  MutexLock lock(&mutex_);
  Peer& peer = peers_[address];
  if (peer.channel == nullptr) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    // A replica that comes back is found soon.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    peer.channel = grpc::CreateCustomChannel(
        address,
        options_.credentials != nullptr ? options_.credentials : grpc::InsecureChannelCredentials(),
        arguments);
    peer.stub = std::make_shared<grpc::GenericStub>(peer.channel);
  }
  if (peer.channel->GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_READY) {
    peer.missed_since = std::min(peer.missed_since, absl::Now());
    return {};
  }
  peer.missed_since = absl::InfiniteFuture();
  peer.told = false;
  return peer;
}

bool Forwarder::IsHere(const Call& call) const {
  return replicas_ == nullptr || call.forwarded();
}

bool Forwarder::IsHere(const Call& call, absl::string_view model) const {
  if (IsHere(call)) return true;
  const auto found = registry_.Find(model);
  return found.ok() && (*found)->writes();
}

absl::Status Forwarder::Parse(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  grpc::ByteBuffer copy = bytes;
  const grpc::Status parsed =
      grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&copy, message);
  return parsed.ok() ? absl::OkStatus()
                     : absl::InternalError("another replica's answer cannot be read");
}

void Forwarder::Begin(const Call* caller, Call* owner, const Route& route, const std::string& model,
                      const google::protobuf::Message& request, Answer<grpc::ByteBuffer> done,
                      absl::AnyInvocable<void()> here) {
  const auto found = registry_.Find(model);
  if (found.ok() && ((*found)->writes() || !route.at_writer)) return here();
  auto errand = std::make_shared<Errand>(*this, route, model);
  bool own = false;
  grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(
      request, &errand->request, &own);
  errand->deadline = caller == nullptr ? absl::InfiniteFuture() : caller->deadline();
  errand->give_up = std::min(GiveUpAt(errand->deadline), absl::Now() + options_.patience);
  errand->owner = owner;
  for (const char* key : kPassedOn) {
    std::string value = caller == nullptr ? "" : caller->Metadata(key);
    if (!value.empty()) errand->metadata.emplace_back(key, std::move(value));
  }
  errand->done = std::move(done);
  errand->here = std::move(here);
  bool taken = false;
  {
    MutexLock lock(&mutex_);
    taken = errands_.size() < kMostErrands;
    if (taken) errands_.emplace(errand.get(), errand);
  }
  if (!taken) return errand->done(TooMany());
  if (owner != nullptr) owner->OnCancel([errand] { errand->Cancel(); });
  errand->Try();
}

void Forwarder::Drain() {
  MutexLock lock(&mutex_);
  for (const auto& [key, errand] : errands_) {
    if (errand->owner == nullptr) errand->Drain();
  }
}

void Forwarder::Resolve(const Call* call, std::shared_ptr<HostedModel> model, int columns,
                        absl::AnyInvocable<void(absl::Status)> done) {
  constexpr Route kPredict = {"lazynorm.v1.PredictionService", "Predict", true, true};
  v1::PredictRequest request;
  request.set_model(model->id());
  request.mutable_features()->set_rows(1);
  request.mutable_features()->set_columns(columns);
  request.mutable_features()->mutable_values()->Resize(columns, 0);
  // Whoever of the two comes first takes it.
  auto end = std::make_shared<absl::AnyInvocable<void(absl::Status)>>(std::move(done));
  Begin(
      call, nullptr, kPredict, model->id(), request,
      [model, end](const absl::StatusOr<grpc::ByteBuffer>& resolved) {
        if (!resolved.ok()) return (*end)(resolved.status());
        model->WhenResolved([end](absl::Status known) { (*end)(std::move(known)); });
        model->CatchUp();
      },
      [end] { (*end)(absl::OkStatus()); });
}

}  // namespace lazynorm
