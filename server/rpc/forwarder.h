#ifndef LAZYNORM_SERVER_RPC_FORWARDER_H_
#define LAZYNORM_SERVER_RPC_FORWARDER_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/hosting/registry.h"
#include "server/hosting/replicas.h"
#include "server/metrics/metrics.h"
#include "server/rpc/call.h"
#include "server/rpc/transport.h"

namespace lazynorm {

class Errand;

struct ForwarderOptions {
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // to other replicas; null: plain text
  std::string secret;  // shown to other replicas, see Cluster::secret
  // How long a call waits for somebody to write its model, within its deadline.
  absl::Duration patience = absl::Seconds(5);
};

// A call that may belong elsewhere.
struct Route {
  const char* service;
  const char* method;
  bool at_writer = true;    // false: any replica that knows the model answers it
  bool repeatable = false;  // doing it twice is as good as doing it once
};

// Takes calls to the replica that writes their model, where several share a store: as the same call
// with the caller's token, deadline and cancellation, and once only. This replica vouches for it:
// its caller was counted here, and is audited here. Where nobody writes the
// model it waits a little, and then answers NO_WRITER; what was on its way to a replica that went
// away is sent again if it may be, and else answered UNAVAILABLE, HOLDER_LOST: nobody knows whether
// it was done. Calls of a model that this replica has not heard of yet wait for its next look.
// Thread-safe.
class Forwarder {
 public:
  template <class Response>
  using Answer = absl::AnyInvocable<void(absl::StatusOr<Response>)>;

  // Calls on their way or waiting at once; more are refused (QUEUE_FULL).
  static constexpr size_t kMostErrands = 4096;

  // All outlive this. `replicas` is null where this process is alone: then nothing is taken
  // anywhere.
  Forwarder(const Registry& registry, Replicas* replicas, Transport& transport, Metrics& metrics,
            ForwarderOptions options);
  ~Forwarder();

  // Answers what waits for nobody's call any more and what waits in streams; before the transport
  // shuts down.
  void Drain();

  // For Replicas::Start: connects to those that have come, gives up on those that have gone, tells
  // of those that are out of reach.
  void OnLook(const std::vector<Replica>& replicas);

  // True if `call` is answered here whatever its model: there is nowhere to take it.
  bool IsHere(const Call& call) const;
  // The same, or this replica writes the model.
  bool IsHere(const Call& call, absl::string_view model) const;

  // Calls `here` if the call is to be answered on this replica, else answers it from where it
  // belongs.
  template <class Request, class Response, class Here>
  void Run(UnaryCall<Request, Response>& call, const Route& route, Here here) {
    if (IsHere(call)) return here();
    auto answer = [&call](absl::StatusOr<Response> response) {
      if (!response.ok()) return call.Finish(response.status());
      *call.response() = *std::move(response);
      call.Finish(absl::OkStatus());
    };
    Run<Response>(call, route, call.request(), std::move(answer), std::move(here), &call);
  }

  // The same for one message of a stream, or where the answer is looked at. One of `answer` and
  // `here` is called, on any thread. What is on its way is cancelled with `owner`.
  template <class Response, class Request, class OnAnswer, class Here>
  void Run(const Call& call, const Route& route, const Request& request, OnAnswer answer, Here here,
           Call* owner = nullptr) {
    if (IsHere(call)) return here();
    Begin(&call, owner, route, request.model(), request, Parsed<Response>(std::move(answer)),
          std::move(here));
  }

  // Has the writer of a lazy model resolve it for that many columns, and calls `done` when that is
  // known here. `call` is whom it is done for; null for nobody in particular.
  void Resolve(const Call* call, std::shared_ptr<HostedModel> model, int columns,
               absl::AnyInvocable<void(absl::Status)> done);

 private:
  friend class Errand;
  struct Peer {
    std::shared_ptr<grpc::Channel> channel;
    std::shared_ptr<grpc::GenericStub> stub;
    absl::Time missed_since = absl::InfiniteFuture();  // without a connection
    bool told = false;                                 // that it is out of reach
  };

  static absl::Status Parse(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);
  template <class Response>
  static Answer<grpc::ByteBuffer> Parsed(Answer<Response> answer) {
    return [answer = std::move(answer)](absl::StatusOr<grpc::ByteBuffer> bytes) mutable {
      if (!bytes.ok()) return answer(bytes.status());
      Response response;
      const absl::Status parsed = Parse(*bytes, &response);
      answer(parsed.ok() ? absl::StatusOr<Response>(std::move(response)) : parsed);
    };
  }
  // For whom it is done, if anybody; whose end is the errand's, if anybody's.
  void Begin(const Call* caller, Call* owner, const Route& route, const std::string& model,
             const google::protobuf::Message& request, Answer<grpc::ByteBuffer> done,
             absl::AnyInvocable<void()> here);
  // A peer that is connected; one without a channel else.
  Peer ConnectedTo(const std::string& address);
  // Of those to whom there has been no connection for as long as a call would wait.
  void TellUnreachable(const std::vector<Replica>& replicas);

  const Registry& registry_;
  Replicas* const replicas_;
  Transport& transport_;
  Metrics& metrics_;
  const ForwarderOptions options_;
  Mutex mutex_;
  std::map<std::string, Peer> peers_ ABSL_GUARDED_BY(mutex_);
  std::map<Errand*, std::shared_ptr<Errand>> errands_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_FORWARDER_H_
