#ifndef LAZYNORM_SERVER_RPC_TRANSPORT_H_
#define LAZYNORM_SERVER_RPC_TRANSPORT_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/metrics/metrics.h"
#include "server/rpc/admission.h"
#include "server/rpc/bidi_call.h"
#include "server/rpc/call.h"
#include "server/rpc/client_stream_call.h"
#include "server/rpc/method.h"
#include "server/rpc/server_stream_call.h"
#include "server/rpc/timer.h"
#include "server/rpc/unary_call.h"

namespace lazynorm {

struct TransportOptions {
  // "127.0.0.1:50051", "127.0.0.1:0" (a free port), "unix:/run/lazynorm.sock".
  std::vector<std::string> listen = {"127.0.0.1:50051"};
  // Null: plain text. What comes over a unix socket always is.
  std::shared_ptr<grpc::ServerCredentials> credentials;
  int max_message_bytes = 64 << 20;  // received
  int max_streams = 256;             // open at once, always_open ones not counted
  // A stream whose caller has neither sent nor taken anything for this long, though it is its turn,
  // is ended; for up to a quarter longer it may live.
  absl::Duration max_stream_idle = absl::Hours(1);
  int polling_threads = 1;  // more than one a core costs CPU; handlers then run concurrently
  Guard* guard = nullptr;   // who is let in; null: everybody. Outlives the transport.
  // Who shows this is another replica, see Cluster::secret; "": there is none.
  std::string replica_secret;
};

// The gRPC server: generated services, their handlers, and the threads that carry calls between
// them. Handlers run on the polling thread that read the message: what takes long belongs on an
// Executor.
//
// Life: add services and methods, Start, SetPhase(kServing), ..., SetPhase(kDraining), Shutdown.
// Thread-safe from Start on; before, one thread adds.
class Transport {
 public:
  // `metrics` must outlive this.
  Transport(TransportOptions options, Metrics& metrics);
  // Shuts down at once if that has not been done.
  ~Transport();

  // Takes a generated `AsyncService`. Every method of it must get a handler before Start.
  template <typename Service>
  Service* AddService(std::unique_ptr<Service> service) {
    Service* added = service.get();
    services_.push_back(std::move(service));
    return added;
  }

  // Adds the handler of one method, which lives as long as this:
  //   transport.AddUnary(service, &v1::PredictionService::AsyncService::RequestPredict,
  //                      "lazynorm.v1.PredictionService", "Predict", handler);
  template <typename Service, typename Base, typename Req, typename Resp>
  void AddUnary(Service* service,
                void (Base::*request)(grpc::ServerContext*, Req*,
                                      grpc::ServerAsyncResponseWriter<Resp>*,
                                      grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
                absl::string_view service_name, absl::string_view method_name,
                std::type_identity_t<std::function<void(UnaryCall<Req, Resp>&)>> handler,
                MethodOptions options = {}) {
    Method* method = AddMethod(service_name, method_name, RpcType::kUnary, options);
    method->post = PostedUnaryCall<Req, Resp>::MakePost(
        method, [=](auto&&... args) { (service->*request)(args...); }, std::move(handler));
  }

  // For a handler that answers at once: a plain function.
  template <typename Service, typename Base, typename Req, typename Resp>
  void AddUnary(Service* service,
                void (Base::*request)(grpc::ServerContext*, Req*,
                                      grpc::ServerAsyncResponseWriter<Resp>*,
                                      grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
                absl::string_view service_name, absl::string_view method_name,
                std::type_identity_t<std::function<absl::Status(const Req&, Resp*)>> handler,
                MethodOptions options = {}) {
    AddUnary(
        service, request, service_name, method_name,
        [handler = std::move(handler)](UnaryCall<Req, Resp>& call) {
          call.Finish(handler(call.request(), call.response()));
        },
        options);
  }

  template <typename Service, typename Base, typename Req, typename Resp>
  void AddServerStream(
      Service* service,
      void (Base::*request)(grpc::ServerContext*, Req*, grpc::ServerAsyncWriter<Resp>*,
                            grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
      absl::string_view service_name, absl::string_view method_name,
      std::type_identity_t<std::function<void(std::shared_ptr<ServerStream<Req, Resp>>)>> handler,
      MethodOptions options = {}) {
    Method* method = AddMethod(service_name, method_name, RpcType::kServerStream, options);
    method->post = PostedServerStream<Req, Resp>::MakePost(
        method, [=](auto&&... args) { (service->*request)(args...); }, std::move(handler));
  }

  // `factory` makes the handler of one stream; the Call lives as long as the handler.
  template <typename Service, typename Base, typename Req, typename Resp>
  void AddClientStream(
      Service* service,
      void (Base::*request)(grpc::ServerContext*, grpc::ServerAsyncReader<Resp, Req>*,
                            grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
      absl::string_view service_name, absl::string_view method_name,
      std::type_identity_t<std::function<std::unique_ptr<ClientStreamHandler<Req, Resp>>(Call&)>>
          factory,
      MethodOptions options = {}) {
    Method* method = AddMethod(service_name, method_name, RpcType::kClientStream, options);
    method->post = PostedClientStream<Req, Resp>::MakePost(
        method, [=](auto&&... args) { (service->*request)(args...); }, std::move(factory));
  }

  // `factory` makes the handler of one stream; the Call lives as long as the handler.
  template <typename Service, typename Base, typename Req, typename Resp>
  void AddBidi(
      Service* service,
      void (Base::*request)(grpc::ServerContext*, grpc::ServerAsyncReaderWriter<Resp, Req>*,
                            grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
      absl::string_view service_name, absl::string_view method_name,
      std::type_identity_t<std::function<std::unique_ptr<BidiHandler<Req, Resp>>(Call&)>> factory,
      MethodOptions options = {}) {
    Method* method = AddMethod(service_name, method_name, RpcType::kBidiStream, options);
    method->post = PostedBidi<Req, Resp>::MakePost(
        method, [=](auto&&... args) { (service->*request)(args...); }, std::move(factory));
  }

  // Listens and begins to answer, in phase kStarting. UNAVAILABLE if an address cannot be listened
  // on; INTERNAL if a method has no handler: its calls would hang.
  absl::Status Start();

  // The full names of all services that were added, each once.
  std::vector<std::string> services() const;

  // The port bound for each of options.listen; for a unix socket, 1.
  std::vector<int> ports() const { return ports_; }

  // kDraining lasts: open streams are told to end, new calls are refused.
  void SetPhase(Phase phase) { admission_.SetPhase(phase); }
  // What a unary call would be answered for the phase alone: OK, STARTING or DRAINING.
  absl::Status CheckServing() const { return admission_.CheckServing(); }

  // Runs `fn` on a polling thread at `when`, unless the timer is cancelled first or the transport
  // shuts down: then never. Only between Start and Shutdown's end; outside, `fn` is dropped.
  std::shared_ptr<Timer> RunAt(absl::Time when, absl::AnyInvocable<void()> fn);

  // For the answers to calls that handlers make themselves. Each must have its answer, and its Tag
  // gone, before the handler finishes the call that it makes them for.
  grpc::CompletionQueue* queue() { return queue_.get(); }

  // Drains, ends the always_open streams too, takes no more calls, waits for those in work until
  // `deadline`, then cancels them; returns when every handler has finished its calls, cancelled
  // ones too, and the polling threads have ended.
  void Shutdown(absl::Time deadline);

 private:
  Method* AddMethod(absl::string_view service, absl::string_view name, RpcType type,
                    MethodOptions options);
  absl::Status CheckEveryMethodHasAHandler() const;
  absl::Status CannotListen();
  void SetChannelArguments(grpc::ServerBuilder& builder) const;
  void LookAtStreamsLater();
  void RecheckStreamsLater();
  void Poll();

  const TransportOptions options_;
  Metrics& metrics_;
  Admission admission_;
  Timers timers_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::vector<std::unique_ptr<Method>> methods_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<int> ports_;
  std::vector<std::thread> pollers_;
  bool shut_down_ = false;  // for the thread that starts and shuts down
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TRANSPORT_H_
