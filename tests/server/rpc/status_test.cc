#include "server/rpc/status.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  return details;
}

template <typename T>
std::optional<T> Detail(const grpc::Status& status) {
  T message;
  const google::rpc::Status details = Details(status);
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&message)) return message;
  }
  return std::nullopt;
}

TEST(StatusTest, OkIsOk) {
  const grpc::Status status = ToGrpcStatus(absl::OkStatus());
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.error_details(), "");
}

TEST(StatusTest, CodesAndMessagesAreKept) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status =
        ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "what went wrong"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "what went wrong");
  }
}

TEST(StatusTest, TheReasonTravelsAsErrorInfo) {
  const auto info = Detail<google::rpc::ErrorInfo>(ToGrpcStatus(WidthMismatch(8, 7)));
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "WIDTH_MISMATCH");
  EXPECT_EQ(info->domain(), "lazynorm");
}

TEST(StatusTest, AnErrorWithoutAReasonHasItsCodesName) {
  const auto info = Detail<google::rpc::ErrorInfo>(ToGrpcStatus(absl::NotFoundError("gone")));
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "NOT_FOUND");
}

TEST(StatusTest, TheFieldTravelsAsBadRequest) {
  const auto bad = Detail<google::rpc::BadRequest>(
      ToGrpcStatus(NonFiniteValue("features.values", 17, 1.0f / 0.0f)));
  ASSERT_TRUE(bad.has_value());
  ASSERT_EQ(bad->field_violations_size(), 1);
  EXPECT_EQ(bad->field_violations(0).field(), "features.values[17]");
  EXPECT_EQ(bad->field_violations(0).description(), "expected a finite number, got inf");
  EXPECT_FALSE(Detail<google::rpc::BadRequest>(ToGrpcStatus(NonFiniteStep("loss"))).has_value());
}

TEST(StatusTest, WhatMayBeTriedAgainSaysWhen) {
  for (const absl::Status& error :
       {absl::ResourceExhaustedError("full"), absl::UnavailableError("draining")}) {
    const auto retry = Detail<google::rpc::RetryInfo>(ToGrpcStatus(error));
    ASSERT_TRUE(retry.has_value());
    EXPECT_EQ(retry->retry_delay().seconds(), 0);
    EXPECT_EQ(retry->retry_delay().nanos(), 100'000'000);
  }
  const auto late = Detail<google::rpc::RetryInfo>(
      ToGrpcStatus(WithRetryAfter(absl::UnavailableError("later"), absl::Milliseconds(2500))));
  ASSERT_TRUE(late.has_value());
  EXPECT_EQ(late->retry_delay().seconds(), 2);
  EXPECT_EQ(late->retry_delay().nanos(), 500'000'000);
  EXPECT_FALSE(Detail<google::rpc::RetryInfo>(ToGrpcStatus(EmptyBatch())).has_value());
}

TEST(StatusTest, LongMessagesAreCutBetweenCharacters) {
  std::string text = "x";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&text, "\u20ac");  // three bytes each
  const grpc::Status status = ToGrpcStatus(absl::InternalError(text));
  EXPECT_EQ(status.error_message().size(), 1024u);  // 1 + 341 * 3
  EXPECT_EQ(status.error_message(), text.substr(0, 1024));
  const std::string field(5000, 'f');
  const grpc::Status invalid =
      ToGrpcStatus(MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC", field, text));
  EXPECT_LT(invalid.error_details().size(), 4096u);
}

TEST(StatusTest, BytesThatAreNoUtf8BecomeQuestionMarks) {
  for (const auto& [bytes, expected] : {
           std::pair("a\xff"
                     "b",
                     "a?b"),
           std::pair("\xc0\x80", "??"),            // overlong
           std::pair("\xed\xa0\x80", "???"),       // a surrogate
           std::pair("\xf4\x90\x80\x80", "????"),  // beyond the last character
           std::pair("\xe2\x82", "??"),            // cut short
           std::pair("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"),
       }) {
    EXPECT_EQ(ToGrpcStatus(absl::InternalError(bytes)).error_message(), expected);
  }
}

TEST(StatusTest, WhatAnotherReplicaAnsweredIsAnsweredAgainAsItIs) {
  for (const absl::Status& status :
       {absl::OkStatus(), WidthMismatch(8, 7), absl::InternalError("what went wrong"),
        MakeError(absl::StatusCode::kUnavailable, "NO_WRITER", "", "try again"),
        WithRetryAfter(MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "", "full"),
                       absl::Milliseconds(1700))}) {
    const grpc::Status once = ToGrpcStatus(status);
    const grpc::Status twice = ToGrpcStatus(FromGrpcStatus(once));
    EXPECT_EQ(twice.error_code(), once.error_code());
    EXPECT_EQ(twice.error_message(), once.error_message());
    EXPECT_EQ(twice.error_details(), once.error_details());
  }
  // gRPC's own errors have no details.
  const absl::Status lost =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection reset"));
  EXPECT_EQ(lost,
            absl::Status(MakeError(absl::StatusCode::kUnavailable, "", "", "connection reset")));
}

}  // namespace
}  // namespace lazynorm
