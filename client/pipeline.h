#ifndef LAZYNORM_CLIENT_PIPELINE_H_
#define LAZYNORM_CLIENT_PIPELINE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/retry.h"
#include "client/status.h"
#include "grpcpp/grpcpp.h"

namespace lazynorm {

// One gRPC stream with a read always under way, so that neither side ever waits for the other with
// full buffers. Made by a Pipeline, used once. Thread-compatible.
template <typename Request, typename Response>
class StreamCall {
 public:
  using Start = std::function<std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>>(
      grpc::ClientContext*, grpc::CompletionQueue*)>;
  using OnResponse = std::function<void(const Response&)>;

  StreamCall(const Start& start, OnResponse on_response) : on_response_(std::move(on_response)) {
    call_ = start(&context_, &queue_);
    call_->StartCall(Tag(kStart));
    busy_ = kStart;
  }

  ~StreamCall() {
    context_.TryCancel();
    if (!ended_) End();
    queue_.Shutdown();
  }

  // False: the stream is over, status() says why.
  bool Write(const Request& request) {
    while (Busy(kStart | kWrite) && Pump()) {
    }
    if (ended_) return false;
    call_->Write(request, Tag(kWrite));
    busy_ |= kWrite;
    while (Busy(kWrite) && Pump()) {
    }
    return !ended_;
  }

  void WritesDone() {
    while (Busy(kStart | kWrite) && Pump()) {
    }
    if (ended_) return;
    call_->WritesDone(Tag(kWritesDone));
    busy_ |= kWritesDone;
  }

  // Waits for the next event. False: the stream is over.
  bool Pump() {
    void* tag = nullptr;
    bool ok = false;
    if (ended_ || !queue_.Next(&tag, &ok)) return false;
    return Handle(tag, ok);
  }

  // Handles what has happened already, without waiting: any deadline but this one is rounded up to
  // a sleep of a millisecond.
  void PumpReady() {
    void* tag = nullptr;
    bool ok = false;
    while (!ended_ && queue_.AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_REALTIME)) ==
                          grpc::CompletionQueue::GOT_EVENT) {
      Handle(tag, ok);
    }
  }

  bool ended() const { return ended_; }
  // Once ended.
  absl::Status status() const { return FromGrpc(status_); }

 private:
  enum Operation : unsigned { kStart = 1, kRead = 2, kWrite = 4, kWritesDone = 8, kFinish = 16 };
  static void* Tag(unsigned operation) {
    return reinterpret_cast<void*>(static_cast<uintptr_t>(operation));  // NOLINT: never followed
  }
  bool Busy(unsigned operations) const { return (busy_ & operations) != 0; }

  bool Handle(void* tag, bool ok) {
    const unsigned operation = static_cast<unsigned>(reinterpret_cast<uintptr_t>(tag));
    busy_ &= ~operation;
    if (!ok) {
      // A write that failed is followed by a read that fails, after the last good answers.
      if (operation == kRead || operation == kStart) End();
      return !ended_;
    }
    if (operation == kRead) on_response_(response_);
    if (operation == kRead || operation == kStart) Read();
    return true;
  }

  void Read() {
    call_->Read(&response_, Tag(kRead));
    busy_ |= kRead;
  }

  // Collects the status and what is still under way.
  void End() {
    ended_ = true;
    call_->Finish(&status_, Tag(kFinish));
    busy_ |= kFinish;
    void* tag = nullptr;
    bool ok = false;
    while (busy_ != 0 && queue_.Next(&tag, &ok)) {
      busy_ &= ~static_cast<unsigned>(reinterpret_cast<uintptr_t>(tag));
    }
  }

  const OnResponse on_response_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>> call_;
  Response response_;
  grpc::Status status_;
  unsigned busy_ = 0;  // operations under way
  bool ended_ = false;
};

// A ClientStream over one StreamCall after another: when a call breaks and may be tried again, the
// unanswered requests go out again on a new one. Thread-compatible.
template <typename Request, typename Response>
class Pipeline final : public ClientStream<Request, Response> {
 public:
  using Call = StreamCall<Request, Response>;
  using OnAnswer = typename ClientStream<Request, Response>::OnAnswer;

  // `window`: at least 1.
  Pipeline(ClientOptions options, typename Call::Start start, int window, OnAnswer on_answer)
      : options_(std::move(options)),
        start_(std::move(start)),
        window_(window < 1 ? 1 : static_cast<size_t>(window)),
        on_answer_(std::move(on_answer)) {}

  absl::Status Write(Request request) override {
    if (!status_.ok()) return status_;
    pending_.push_back(std::move(request));
    if (call_ == nullptr) Begin();
    if (!call_->Write(pending_.back())) Recover();
    while (status_.ok() && pending_.size() >= window_) {
      if (!call_->Pump()) Recover();
    }
    if (status_.ok()) call_->PumpReady();
    return status_;
  }

  absl::Status Finish() override {
    if (!status_.ok() || call_ == nullptr) return status_;
    call_->WritesDone();
    while (status_.ok() && !(call_->ended() && pending_.empty())) {
      if (call_->Pump()) continue;
      if (pending_.empty()) break;
      Recover();
      if (status_.ok()) call_->WritesDone();
    }
    // Once all is answered, it does not matter how the connection ends.
    if (status_.ok() && !IsRetryable(call_->status())) status_ = call_->status();
    call_.reset();
    return status_;
  }

 private:
  void Begin() {
    call_ = std::make_unique<Call>(start_, [this](const Response& response) {
      if (pending_.empty()) return;  // an answer to nothing: no use for it
      on_answer_(pending_.front(), response);
      pending_.pop_front();
      answered_ = true;
    });
  }

  // The call is over: begins another and sends what is unanswered, as often as it takes, or sets
  // status_. The patience is the timeout, counted anew from each answer.
  void Recover() {
    do {
      const absl::Status why = call_->status();
      if (backoff_ == nullptr || answered_) {
        backoff_ = std::make_unique<Backoff>(options_, absl::Now() + options_.timeout);
        answered_ = false;
      }
      if (!backoff_->WaitAfter(why)) {
        status_ = why.ok() ? absl::UnknownError("the server ended the stream early") : why;
        return;
      }
      Begin();
    } while (!Resend());
  }

  // Sends all unanswered requests on the new call. False: that one is over, too.
  bool Resend() {
    const size_t total = pending_.size();
    for (size_t sent = 0; sent < total; ++sent) {
      const size_t answered = total - pending_.size();  // answers shorten the queue at its front
      if (!call_->Write(pending_[sent - answered])) return false;
    }
    return true;
  }

  const ClientOptions options_;
  const typename Call::Start start_;
  const size_t window_;
  const OnAnswer on_answer_;
  std::deque<Request> pending_;  // unanswered, in order; a deque keeps them in place while written
  std::unique_ptr<Call> call_;
  std::unique_ptr<Backoff> backoff_;
  bool answered_ = false;  // since backoff_ was made
  absl::Status status_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_PIPELINE_H_
