#include "server/rpc/status.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

constexpr size_t kMaxTextBytes = 1024;
constexpr size_t kMaxFieldBytes = 256;
constexpr int64_t kDefaultRetryMs = 100;

// The length of the UTF-8 character that `text` begins with, 0 if it begins with none.
// RFC 3629, section 4.
size_t CharacterLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(i < text.size() ? text[i] : 0); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

// The whole characters of `text` that fit into `max_bytes`; a byte that is none becomes "?".
std::string ValidUtf8(absl::string_view text, size_t max_bytes) {
  std::string valid;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (valid.size() + std::max<size_t>(length, 1) > max_bytes) break;
    if (length == 0) {
      valid += '?';
      text.remove_prefix(1);
    } else {
      absl::StrAppend(&valid, text.substr(0, length));
      text.remove_prefix(length);
    }
  }
  return valid;
}

bool WantsRetryHint(absl::StatusCode code) {
  return code == absl::StatusCode::kResourceExhausted || code == absl::StatusCode::kUnavailable;
}

int64_t RetryMs(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryMsUrl);
  int64_t ms = 0;
  if (payload.has_value() && absl::SimpleAtoi(std::string(*payload), &ms) && ms >= 0) return ms;
  return kDefaultRetryMs;
}

google::rpc::ErrorInfo MakeErrorInfo(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  const std::string reason = ReasonOf(status);
  info.set_reason(reason.empty() ? absl::StatusCodeToString(status.code()) : reason);
  info.set_domain("lazynorm");
  return info;
}

google::rpc::BadRequest MakeBadRequest(const std::string& field, absl::string_view message) {
  google::rpc::BadRequest bad_request;
  google::rpc::BadRequest::FieldViolation* violation = bad_request.add_field_violations();
  absl::ConsumePrefix(&message, absl::StrCat(field, ": "));
  violation->set_field(ValidUtf8(field, kMaxFieldBytes));
  violation->set_description(std::string(message));
  return bad_request;
}

google::rpc::RetryInfo MakeRetryInfo(int64_t ms) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(ms / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ms % 1000 * 1'000'000));
  return retry;
}

}  // namespace

absl::Status WithRetryAfter(absl::Status status, absl::Duration delay) {
  status.SetPayload(kRetryMsUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(delay))));
  return status;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(ValidUtf8(status.message(), kMaxTextBytes));
  details.add_details()->PackFrom(MakeErrorInfo(status));
  if (const std::string field = FieldOf(status); !field.empty()) {
    details.add_details()->PackFrom(MakeBadRequest(field, details.message()));
  }
  if (WantsRetryHint(status.code())) {
    details.add_details()->PackFrom(MakeRetryInfo(RetryMs(status)));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), details.message(),
                      details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  std::string field;
  absl::Duration delay;
  for (const google::protobuf::Any& detail : details.details()) {
    detail.UnpackTo(&info);
    if (detail.UnpackTo(&bad_request) && bad_request.field_violations_size() > 0) {
      field = bad_request.field_violations(0).field();
    }
    if (detail.UnpackTo(&retry)) {
      delay = absl::Seconds(retry.retry_delay().seconds()) +
              absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  std::string message = status.error_message();
  if (!field.empty()) message = std::string(absl::StripPrefix(message, absl::StrCat(field, ": ")));
  absl::Status result =
      MakeError(static_cast<absl::StatusCode>(status.error_code()), info.reason(), field, message);
  return delay > absl::ZeroDuration() ? WithRetryAfter(std::move(result), delay) : result;
}

}  // namespace lazynorm
