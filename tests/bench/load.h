#ifndef LAZYNORM_TESTS_BENCH_LOAD_H_
#define LAZYNORM_TESTS_BENCH_LOAD_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/status.h"
#include "tests/bench/child.h"

namespace lazynorm {

// What one loop against one server gave.
struct LoadResult {
  double per_second = 0;
  double p50_us = 0, p90_us = 0, p99_us = 0, p999_us = 0;  // 0 where answers are not timed
  double server_cpu_us = 0;                                // a call, user and system
  double foreign_cores = 0;  // kept busy by neither this process nor the server
};

// Measures one loop, after a warm-up of a fifth of `time`. Thread-compatible.
class LoadMeter {
 public:
  LoadMeter(const Child& server, absl::Duration time)
      : server_(server), begin_(absl::Now() + time / 5), end_(begin_ + time) {}

  // Counts an answer that came now to what was sent at `sent`.
  void Count(absl::Time sent);
  // Counts an answer whose time is of no interest.
  void Count() { Count(absl::InfinitePast()); }
  bool over() const { return over_; }
  LoadResult Result();

 private:
  void Begin(absl::Time now);
  void End(absl::Time now);

  const Child& server_;
  absl::Time begin_, end_;  // planned, then as they were
  bool begun_ = false, over_ = false;
  absl::Duration server_cpu_, own_cpu_, machine_cpu_;  // at begin_, then during the loop
  int64_t count_ = 0;
  std::vector<double> micros_;
};

// Unary calls; one thread, one completion queue. `prepare` begins the n-th of them.
template <typename Response>
class UnaryLoad {
 public:
  using Prepare = std::function<std::unique_ptr<grpc::ClientAsyncResponseReader<Response>>(
      grpc::ClientContext*, grpc::CompletionQueue*, int64_t n)>;

  explicit UnaryLoad(Prepare prepare) : prepare_(std::move(prepare)) {}

  // A closed loop that keeps `in_flight` calls under way. The first call that fails ends it with
  // its status.
  absl::StatusOr<LoadResult> Run(int in_flight, LoadMeter meter) {
    grpc::CompletionQueue queue;
    for (int i = 0; i < in_flight; ++i) Start(std::make_unique<Call>(), &queue);
    absl::Status failed;
    void* tag = nullptr;
    bool ok = false;
    for (int open = in_flight; open > 0 && queue.Next(&tag, &ok);) {
      std::unique_ptr<Call> call(static_cast<Call*>(tag));
      meter.Count(call->sent);
      if (!call->status.ok()) failed = FromGrpc(call->status);
      if (meter.over() || !failed.ok()) {
        --open;
      } else {
        Start(std::make_unique<Call>(), &queue);
      }
    }
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    if (!failed.ok()) return failed;
    return meter.Result();
  }

  // An open loop: calls begin at random (Poisson), `per_second` of them, however late the answers
  // are, and each is timed from when it should have begun. Never waits: an idle client would add
  // what it takes to wake up.
  absl::StatusOr<LoadResult> RunOpen(double per_second, LoadMeter meter) {
    grpc::CompletionQueue queue;
    std::mt19937_64 random(1);
    std::exponential_distribution<double> pause(per_second);
    absl::Time next = absl::Now();
    absl::Status failed;
    void* tag = nullptr;
    bool ok = false;
    for (int64_t open = 0; open > 0 || !meter.over();) {
      if (!meter.over() && failed.ok() && absl::Now() >= next) {
        Start(std::make_unique<Call>(), &queue, next);
        next += absl::Seconds(pause(random));
        ++open;
      }
      const auto got = queue.AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_REALTIME));
      if (got != grpc::CompletionQueue::GOT_EVENT) {
        if (open == 0 && !failed.ok()) break;
        continue;
      }
      const std::unique_ptr<Call> call(static_cast<Call*>(tag));
      --open;
      meter.Count(call->sent);
      if (!call->status.ok()) failed = FromGrpc(call->status);
    }
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    if (!failed.ok()) return failed;
    return meter.Result();
  }

 private:
  struct Call {
    grpc::ClientContext context;
    Response response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
    absl::Time sent;
  };

  // The call owns itself until the queue gives it back.
  void Start(std::unique_ptr<Call> started, grpc::CompletionQueue* queue,
             absl::Time intended = absl::Now()) {
    Call* call = started.release();
    call->sent = intended;
    call->reader = prepare_(&call->context, queue, started_++);
    call->reader->StartCall();
    call->reader->Finish(&call->response, &call->status, call);
  }

  const Prepare prepare_;
  int64_t started_ = 0;
};

// Sends the same request down one bidirectional stream, `window` of them unanswered.
template <typename Request, typename Response>
class StreamLoad {
 public:
  using Stream = grpc::ClientAsyncReaderWriter<Request, Response>;
  using Prepare =
      std::function<std::unique_ptr<Stream>(grpc::ClientContext*, grpc::CompletionQueue*)>;

  StreamLoad(Prepare prepare, Request request)
      : prepare_(std::move(prepare)), request_(std::move(request)) {}

  absl::StatusOr<LoadResult> Run(int window, LoadMeter meter) {
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const std::unique_ptr<Stream> stream = prepare_(&context, &queue);
    stream->StartCall(&started_);
    const bool answered = Exchange(*stream, queue, window, meter);
    context.TryCancel();
    grpc::Status status;
    stream->Finish(&status, &finished_);
    queue.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) {
    }
    if (!answered) return FromGrpc(status);
    return meter.Result();
  }

 private:
  // False if the stream broke.
  bool Exchange(Stream& stream, grpc::CompletionQueue& queue, int window, LoadMeter& meter) {
    int unanswered = 0;
    bool writing = true;  // the start counts as one
    void* tag = nullptr;
    bool ok = false;
    while (!meter.over() && queue.Next(&tag, &ok)) {
      if (!ok) return false;
      if (tag == &read_) {
        --unanswered;
        meter.Count();
      } else {
        writing = false;
      }
      if (tag != &written_) stream.Read(&response_, &read_);
      if (!writing && unanswered < window) {
        stream.Write(request_, &written_);
        writing = true;
        ++unanswered;
      }
    }
    return true;
  }

  const Prepare prepare_;
  const Request request_;
  Response response_;
  char started_ = 0, read_ = 0, written_ = 0, finished_ = 0;  // their addresses are the tags
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_LOAD_H_
