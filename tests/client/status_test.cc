#include "client/status.h"

#include <gtest/gtest.h>

namespace lazynorm {
namespace {

TEST(StatusTest, ACallThatAStoppingServerCancelsMayBeTriedAgain) {
  const absl::Status status = FromGrpc(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(IsRetryable(status));
}

TEST(StatusTest, WhatTheServerSaysIsKept) {
  const absl::Status status = FromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "no model"));
  EXPECT_EQ(status, absl::NotFoundError("no model"));
  EXPECT_FALSE(IsRetryable(status));
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

}  // namespace
}  // namespace lazynorm
