#ifndef LAZYNORM_SERVER_RPC_CALL_H_
#define LAZYNORM_SERVER_RPC_CALL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lazynorm {

// What a handler sees of the calls that it answers. Transport (transport.h) makes these and carries
// them; nothing here knows gRPC, so that a handler can be tested without a socket.

// What every call has. Thread-safe.
class Call {
 public:
  virtual ~Call() = default;
  // When the caller stops waiting; InfiniteFuture if it set no deadline.
  virtual absl::Time deadline() const = 0;
  // True once the caller has gone away, or its deadline has passed, before the answer.
  virtual bool cancelled() const = 0;
  // Runs `fn` once on a polling thread when the call becomes cancelled; at once on this thread if
  // it already is; never after the answer. A ServerStream that is ended from outside counts as
  // cancelled here. At most one `fn` a call.
  virtual void OnCancel(absl::AnyInvocable<void()> fn) = 0;
  // The first value the caller sent under this (lower case) metadata key; "" if none.
  virtual std::string Metadata(absl::string_view key) const = 0;
  // True if another replica has brought it here: its caller is known and counted there, and it goes
  // no further. No other caller can make this true.
  virtual bool forwarded() const { return false; }
  // The replica at `address` is to answer it; "": this one, after all. For the audit.
  virtual void TakenTo(absl::string_view /*address*/) {}
  // Whether the caller may see and use this model. Those that its requests name have been checked.
  virtual bool MayUse(absl::string_view /*model*/) const { return true; }
};

// One request, one answer. The handler gets a reference that is good until it calls Finish, which
// it does exactly once, from any thread, at once or later, even if the call is cancelled.
template <typename Req, typename Resp>
class UnaryCall : public Call {
 public:
  const Req& request() const { return request_; }
  // To be filled in before Finish(OK). Not touched by anyone else.
  Resp* response() { return &response_; }
  // Answers with response() or the error. The call may be gone when this returns.
  virtual void Finish(absl::Status status) = 0;

 protected:
  Req request_;
  Resp response_;
};

// One request, many answers. The handler gets a shared_ptr that it may keep: whatever is called on
// a stream that has ended does nothing. The stream ends with Finish or when the caller goes away.
template <typename Req, typename Resp>
class ServerStream : public Call {
 public:
  const Req& request() const { return request_; }
  // Sends after all that was written before. Nothing holds a writer back but `written`, if it is
  // given: called on a polling thread when it is time for the next; never if the stream ends first.
  virtual void Write(Resp response, absl::AnyInvocable<void()> written = nullptr) = 0;
  // Sends in place of everything that could not be sent yet: a slow reader gets only the newest.
  virtual void WriteLatest(Resp response) = 0;
  // Ends the stream after all that was written.
  virtual void Finish(absl::Status status) = 0;

 protected:
  Req request_;
};

// Where the answers to a stream's messages go. Internal to this room.
template <typename T>
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  virtual void Answer(int64_t message, absl::StatusOr<T> answer) = 0;
};

// The answer to one message: to be called once, from any thread, at once or later. One that is
// dropped uncalled answers INTERNAL. Movable.
template <typename T>
class Reply {
 public:
  Reply(std::shared_ptr<ReplySink<T>> sink, int64_t message)
      : sink_(std::move(sink)), message_(message) {}
  Reply(Reply&&) noexcept = default;
  Reply& operator=(Reply&&) = delete;
  ~Reply() {
    if (sink_ != nullptr) (*this)(absl::InternalError("the message was dropped without an answer"));
  }

  void operator()(absl::StatusOr<T> answer) {
    std::exchange(sink_, nullptr)->Answer(message_, std::move(answer));
  }

 private:
  std::shared_ptr<ReplySink<T>> sink_;
  int64_t message_;
};

// Handles one stream of messages that are answered one by one, in order. Its virtual functions are
// called by one polling thread at a time, except OnBroken; it is destroyed when the stream has
// ended and every Reply has been called.
template <typename Req, typename Resp>
class BidiHandler {
 public:
  virtual ~BidiHandler() = default;
  // Answers `request`, now or later. Answers are sent in the order of the messages, in whatever
  // order the replies are called. Replying an error ends the stream with it once all answers before
  // it are sent; no further message is handed over.
  virtual void OnMessage(Req request, Reply<Resp> reply) = 0;
  // False: `next` is handed over only when all messages before it are answered.
  virtual bool MayOverlap(const Req& /*next*/) { return true; }
  // The first error was just replied, on that thread: messages handed over after the bad one still
  // want a reply, but nobody will see it.
  virtual void OnBroken() {}
  // The caller went away; replies go nowhere.
  virtual void OnCancel() {}
};

// Handles one stream of messages that has one answer. Called by one polling thread at a time;
// destroyed when the stream has ended and every `done` and Reply has been called.
template <typename Req, typename Resp>
class ClientStreamHandler {
 public:
  virtual ~ClientStreamHandler() = default;
  // Takes one message and calls `done` once, from any thread, now or later. The next message comes
  // after that; an error ends the stream.
  virtual void OnMessage(Req request, absl::AnyInvocable<void(absl::Status)> done) = 0;
  // The caller has sent all: the answer, now or later. Not called on a broken stream.
  virtual void OnEnd(Reply<Resp> reply) = 0;
  // The caller went away; there will be no OnEnd.
  virtual void OnCancel() {}
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_CALL_H_
