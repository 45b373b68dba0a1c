#include "server/rpc/admission.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "server/rpc/posted_call.h"

namespace lazynorm {

namespace {

absl::Status TooManyStreams(int most) {
  return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_STREAMS", "",
                   absl::StrCat("expected at most ", most, " open streams"));
}

}  // namespace

absl::Status StartingError() {
  return MakeError(absl::StatusCode::kUnavailable, "STARTING", "",
                   "the server is starting: models are being recovered");
}

absl::Status DrainingError() {
  return MakeError(absl::StatusCode::kUnavailable, "DRAINING", "",
                   "the server is draining: try another one, or this one later");
}

absl::Status Admission::CheckPhase() const {
  if (phase_ == Phase::kStarting) return StartingError();
  if (phase_ == Phase::kDraining) return DrainingError();
  return absl::OkStatus();
}

absl::Status Admission::CheckServing() const {
  MutexLock lock(&mutex_);
  return CheckPhase();
}

absl::Status Admission::Enter(PostedCall* call, const Method& method) {
  const bool stream = method.type != RpcType::kUnary;
  MutexLock lock(&mutex_);
  if (method.options.always_open) {
    if (!stream) return absl::OkStatus();
    if (closed_) return DrainingError();
    if (static_cast<int>(always_open_streams_.size()) >= kMostAlwaysOpenStreams) {
      return TooManyStreams(kMostAlwaysOpenStreams);
    }
    always_open_streams_.insert(call);
    return absl::OkStatus();
  }
  if (absl::Status open = CheckPhase(); !open.ok()) return open;
  if (!stream) return absl::OkStatus();
  if (static_cast<int>(streams_.size()) >= max_streams_) {
    return TooManyStreams(max_streams_);
  }
  streams_.insert(call);
  return absl::OkStatus();
}

void Admission::Leave(PostedCall* call) {
  MutexLock lock(&mutex_);
  streams_.erase(call);
  always_open_streams_.erase(call);
}

std::vector<std::shared_ptr<PostedCall>> Admission::Alive(const std::set<PostedCall*>& streams) {
  std::vector<std::shared_ptr<PostedCall>> alive;
  alive.reserve(streams.size());
  // A stream that has not left is alive.
  for (PostedCall* stream : streams) alive.push_back(stream->shared_from_this());
  return alive;
}

void Admission::SetPhase(Phase phase) {
  std::vector<std::shared_ptr<PostedCall>> ending;
  {
    MutexLock lock(&mutex_);
    phase_ = phase;
    if (phase == Phase::kDraining) ending = Alive(streams_);
  }
  for (const std::shared_ptr<PostedCall>& stream : ending) stream->Drain();
}

void Admission::Close() {
  SetPhase(Phase::kDraining);
  std::vector<std::shared_ptr<PostedCall>> ending;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    ending = Alive(always_open_streams_);
  }
  for (const std::shared_ptr<PostedCall>& stream : ending) stream->Drain();
}

void Admission::LookAtStreams() {
  std::vector<std::shared_ptr<PostedCall>> streams, always_open;
  {
    MutexLock lock(&mutex_);
    streams = Alive(streams_);
    always_open = Alive(always_open_streams_);
  }
  for (const std::shared_ptr<PostedCall>& stream : streams) stream->Look();
  for (const std::shared_ptr<PostedCall>& stream : always_open) stream->Look();
}

void Admission::RecheckStreams() {
  std::vector<std::shared_ptr<PostedCall>> streams;
  {
    MutexLock lock(&mutex_);
    streams = Alive(streams_);
  }
  for (const std::shared_ptr<PostedCall>& stream : streams) stream->Recheck();
}

void Admission::Posted() {
  MutexLock lock(&mutex_);
  ++calls_;
}

void Admission::Gone() {
  MutexLock lock(&mutex_);
  if (--calls_ == 0) changed_.NotifyAll();
}

void Admission::WaitUntilAllGone() {
  MutexLock lock(&mutex_);
  while (calls_ > 0) changed_.Wait(&mutex_);
}

}  // namespace lazynorm
