#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace lazynorm {
namespace {

using testing::HasSubstr;

TEST(OptionsTest, TheDefaultsAreGoodAndBindToLoopback) {
  const Options options;
  EXPECT_TRUE(Validate(options).ok());
  EXPECT_EQ(options.listen, std::vector<std::string>{"127.0.0.1:50051"});
  EXPECT_EQ(options.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(options.max_message_bytes, 64 << 20);
  EXPECT_EQ(options.max_rows_per_request, 65536);
  EXPECT_EQ(options.max_width, 16384);
  EXPECT_EQ(options.max_parameters, 50'000'000);
  EXPECT_EQ(options.max_step_bytes, 1 << 30);
  EXPECT_EQ(options.max_models, 1000);
  EXPECT_EQ(options.max_queued_steps, 1024);
  EXPECT_EQ(options.max_streams, 256);
  EXPECT_EQ(options.max_remembered_predictions, 100'000);
  EXPECT_EQ(options.max_remembered_bytes, 64 << 20);
  EXPECT_EQ(options.remember_predictions_for, absl::Hours(24));
}

void ExpectRefused(const std::string& flag, const std::function<void(Options&)>& change) {
  Options options;
  change(options);
  const absl::Status status = Validate(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << flag;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--" + flag + ": expected"));
}

TEST(OptionsTest, WhatIsOutOfRangeIsNamed) {
  ExpectRefused("listen", [](Options& o) { o.listen.clear(); });
  ExpectRefused("listen", [](Options& o) { o.listen = {"127.0.0.1:0", "50051"}; });
  ExpectRefused("drain_seconds", [](Options& o) { o.drain = -absl::Seconds(1); });
  ExpectRefused("compute_threads", [](Options& o) { o.compute_threads = -1; });
  ExpectRefused("polling_threads", [](Options& o) { o.polling_threads = 0; });
  ExpectRefused("cpu", [](Options& o) { o.cpu = "v1"; });
  ExpectRefused("max_message_bytes", [](Options& o) { o.max_message_bytes = 100; });
  ExpectRefused("max_message_bytes", [](Options& o) { o.max_message_bytes = int64_t{1} << 31; });
  ExpectRefused("max_rows_per_request", [](Options& o) { o.max_rows_per_request = 0; });
  ExpectRefused("snapshots_per_model", [](Options& o) { o.snapshots_per_model = 1; });
  ExpectRefused("max_width", [](Options& o) { o.max_width = 0; });
  ExpectRefused("max_parameters", [](Options& o) { o.max_parameters = 0; });
  ExpectRefused("max_step_bytes", [](Options& o) { o.max_step_bytes = 1023; });
  ExpectRefused("max_models", [](Options& o) { o.max_models = 0; });
  ExpectRefused("max_queued_steps", [](Options& o) { o.max_queued_steps = 0; });
  ExpectRefused("max_remembered_predictions",
                [](Options& o) { o.max_remembered_predictions = -1; });
  ExpectRefused("max_remembered_bytes", [](Options& o) { o.max_remembered_bytes = -1; });
  for (const absl::Duration time :
       {absl::ZeroDuration(), absl::Hours(100'000), absl::InfiniteDuration()}) {
    ExpectRefused("remember_predictions_for",
                  [time](Options& o) { o.remember_predictions_for = time; });
  }
  ExpectRefused("max_streams", [](Options& o) { o.max_streams = 0; });
  ExpectRefused("lease_timeout", [](Options& o) { o.lease_timeout = absl::ZeroDuration(); });
  ExpectRefused("follow_interval", [](Options& o) { o.follow_interval = absl::Hours(1); });
  ExpectRefused("max_stream_idle", [](Options& o) { o.max_stream_idle = absl::ZeroDuration(); });
  ExpectRefused("max_calls_per_second", [](Options& o) { o.max_calls_per_second = -1; });
  ExpectRefused("max_calls_in_flight", [](Options& o) { o.max_calls_in_flight = -1; });
}

TEST(OptionsTest, ACertificateAndItsKeyGoTogether) {
  ExpectRefused("tls_key", [](Options& o) { o.tls_cert = "cert.pem"; });
  ExpectRefused("tls_key", [](Options& o) { o.tls_key = "key.pem"; });
  ExpectRefused("tls_client_ca", [](Options& o) { o.tls_client_ca = "ca.pem"; });
}

constexpr const char* kOpen[] = {
    "0.0.0.0:50051",  "[::]:50051",        "192.168.1.2:50051",     ":50051",
    "*:50051",        "example.com:50051", "127.example.com:50051", "dns:127.0.0.1:50051",
    "128.0.0.1:50051"};
constexpr const char* kLocal[] = {
    "127.0.0.1:0",           "127.1.2.3:50051",         "[::1]:50051",
    "localhost:50051",       "unix:/run/lazynorm.sock", "unix:///run/lazynorm.sock",
    "unix-abstract:lazynorm"};

TEST(OptionsTest, PlainTextStaysOnThisMachineUnlessItIsMeant) {
  for (const char* address : kOpen) {
    EXPECT_FALSE(IsLocal(address)) << address;
    Options options;
    options.listen = {"127.0.0.1:0", address};
    EXPECT_THAT(std::string(Validate(options).message()), HasSubstr("in plain text")) << address;
    options.insecure = true;
    EXPECT_TRUE(Validate(options).ok()) << address;
    options.insecure = false;
    options.tls_cert = options.tls_key = "some.pem";
    EXPECT_TRUE(Validate(options).ok()) << address;
  }
  for (const char* address : kLocal) {
    EXPECT_TRUE(IsLocal(address)) << address;
    Options options;
    options.listen = {address};
    EXPECT_TRUE(Validate(options).ok()) << address;
  }
}

TEST(OptionsTest, ReplicasTellEachOtherAnAddressThatCanBeReached) {
  Options options;
  EXPECT_EQ(Advertised(options), "127.0.0.1:50051");
  options.listen = {"0.0.0.0:50051"};
  options.insecure = true;
  EXPECT_TRUE(Validate(options).ok());  // alone
  options.store = "postgresql:///lazynorm";
  for (const char* nowhere :
       {"0.0.0.0:50051", "[::]:50051", "127.0.0.1:0", "unix:/run/lazynorm.sock"}) {
    options.listen = {nowhere};
    const absl::Status status = Validate(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << nowhere;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--advertise: expected"));
  }
  EXPECT_FALSE(AdvertisesLoopback(Options()));  // as is all of it
  options.advertise = "localhost:50051";
  options.listen = {"127.0.0.1:50051", "10.0.0.1:50051"};
  EXPECT_TRUE(AdvertisesLoopback(options));
  options.advertise = "10.0.0.1:50051";
  EXPECT_FALSE(AdvertisesLoopback(options));
  options.advertise.clear();
  EXPECT_TRUE(AdvertisesLoopback(options)) << "the first is told";
  options.listen = {"127.0.0.1:50051"};
  options.advertise = "lazynorm-0";
  EXPECT_FALSE(Validate(options).ok()) << "no port";
  options.advertise = "lazynorm-0:50051";
  EXPECT_TRUE(Validate(options).ok());
}

}  // namespace
}  // namespace lazynorm
