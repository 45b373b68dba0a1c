#include "server/options.h"

#include <arpa/inet.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "model/kernels.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

constexpr absl::Duration kLongestMemory = absl::Hours(10 * 365 * 24);

struct Range {
  const char* flag;
  int64_t value, least, most;
};

absl::Status CheckRange(const Range& r) {
  if (r.value >= r.least && r.value <= r.most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", r.flag, ": expected ", r.least, " to ", r.most, ", got ", r.value));
}

// auto, or a level that this machine can run.
absl::Status CheckCpu(const std::string& cpu) {
  std::vector<std::string> levels;
  for (const Kernels* kernels : AvailableKernels()) levels.emplace_back(kernels->level);
  if (cpu == "auto" || std::find(levels.begin(), levels.end(), cpu) != levels.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("--cpu: expected auto or what this machine has, ",
                                                 absl::StrJoin(levels, " or "), ", got \"", cpu,
                                                 "\""));
}

absl::Status CheckWord(absl::string_view flag, const std::string& value,
                       const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), value) != words.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, ": expected ", absl::StrJoin(words, " or "), ", got \"", value, "\""));
}

absl::Status CheckListen(const Options& o) {
  if (o.listen.empty()) {
    return absl::InvalidArgumentError("--listen: expected an address such as 127.0.0.1:50051");
  }
  for (const std::string& address : o.listen) {
    if (address.find(':') == std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("--listen: expected host:port or unix:path, got \"", address, "\""));
    }
    if (!IsLocal(address) && o.tls_cert.empty() && !o.insecure) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--listen: ", address, " is open to other machines, in plain text: expected --tls_cert ",
          "and --tls_key, or --insecure if that is meant"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTls(const Options& o) {
  if (o.tls_cert.empty() != o.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key: expected both or neither");
  }
  if (!o.tls_client_ca.empty() && o.tls_cert.empty()) {
    return absl::InvalidArgumentError("--tls_client_ca: expected --tls_cert and --tls_key with it");
  }
  return absl::OkStatus();
}

absl::Status CheckDuration(absl::string_view flag, absl::Duration value, absl::Duration least,
                           absl::Duration most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": expected ", absl::FormatDuration(least), " to ",
                   absl::FormatDuration(most), ", got ", absl::FormatDuration(value)));
}

// What only several replicas of a store need.
absl::Status CheckReplicas(const Options& o) {
  RETURN_IF_ERROR(
      CheckDuration("lease_timeout", o.lease_timeout, absl::Milliseconds(200), absl::Minutes(10)));
  RETURN_IF_ERROR(
      CheckDuration("follow_interval", o.follow_interval, absl::Milliseconds(5), absl::Minutes(1)));
  const bool shared = absl::StartsWith(o.store, "postgres");
  const std::string address = Advertised(o);
  const bool everywhere =
      absl::StartsWith(address, "0.0.0.0:") || absl::StartsWith(address, "[::]:");
  const size_t colon = address.rfind(':');
  int port = 0;
  const bool somewhere = colon != std::string::npos && colon > 0 &&
                         absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0;
  if (!shared || (somewhere && !everywhere)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--advertise: expected the host:port where other replicas reach this one, got ", address));
}

}  // namespace

std::string StoreUri(const Options& options) {
  if (!options.store.empty()) return options.store;
  return absl::StrCat("sqlite://", std::filesystem::absolute(options.data_dir).string(),
                      "/lazynorm.db");
}

bool IsLocal(absl::string_view address) {
  if (absl::StartsWith(address, "unix:") || absl::StartsWith(address, "unix-abstract:")) {
    return true;
  }
  std::string host(address.substr(0, address.rfind(':')));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return host == "::1" || host == "localhost";
}

std::string Advertised(const Options& options) {
  return options.advertise.empty() ? options.listen.front() : options.advertise;
}

bool AdvertisesLoopback(const Options& options) {
  return IsLocal(Advertised(options)) &&
         !std::all_of(options.listen.begin(), options.listen.end(), IsLocal);
}

absl::Status Validate(const Options& o) {
  RETURN_IF_ERROR(CheckListen(o));
  RETURN_IF_ERROR(CheckTls(o));
  if (o.drain < absl::ZeroDuration() || o.drain > absl::Hours(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--drain_seconds: expected 0s to 1h, got ", absl::FormatDuration(o.drain)));
  }
  const absl::Duration remember = o.remember_predictions_for;
  if (remember <= absl::ZeroDuration() || remember > kLongestMemory) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--remember_predictions_for: expected more than 0s and at most ",
        absl::FormatDuration(kLongestMemory), ", got ", absl::FormatDuration(remember)));
  }
  RETURN_IF_ERROR(CheckWord("durability", o.durability, {"fsync", "async", "none"}));
  RETURN_IF_ERROR(CheckWord("recover", o.recover, {"skip-damaged", "strict"}));
  RETURN_IF_ERROR(CheckCpu(o.cpu));
  RETURN_IF_ERROR(CheckReplicas(o));
  if (o.store.empty() && o.data_dir.empty()) {
    return absl::InvalidArgumentError("--data_dir: expected a folder, or --store=memory:");
  }
  if (o.max_stream_idle < absl::Milliseconds(100)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_stream_idle: expected at least 100ms, or inf, got ",
                     absl::FormatDuration(o.max_stream_idle)));
  }
  if (o.replay_budget <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("--replay_budget: expected more than 0s, got ",
                                                   absl::FormatDuration(o.replay_budget)));
  }
  constexpr int64_t kMostInt = std::numeric_limits<int>::max();
  for (const Range& range :
       {Range{"compute_threads", o.compute_threads, 0, 1024},
        Range{"polling_threads", o.polling_threads, 1, 64},
        Range{"max_message_bytes", o.max_message_bytes, 1024, kMostInt},
        Range{"max_rows_per_request", o.max_rows_per_request, 1, kMostInt},
        Range{"max_width", o.max_width, 1, 1 << 20},
        Range{"max_parameters", o.max_parameters, 1, kMostInt},
        Range{"max_step_bytes", o.max_step_bytes, 1024, int64_t{1} << 40},
        Range{"max_models", o.max_models, 1, 1'000'000},
        Range{"max_queued_steps", o.max_queued_steps, 1, 1'000'000},
        Range{"max_streams", o.max_streams, 1, 100'000},
        Range{"max_calls_per_second", o.max_calls_per_second, 0, 1'000'000'000},
        Range{"max_calls_in_flight", o.max_calls_in_flight, 0, kMostInt},
        Range{"max_remembered_predictions", o.max_remembered_predictions, 0, kMostInt},
        Range{"snapshots_per_model", o.snapshots_per_model, 2, 100'000},
        Range{"checkpoints_per_model", o.checkpoints_per_model, 0, 100'000},
        Range{"max_remembered_bytes", o.max_remembered_bytes, 0, int64_t{1} << 40}}) {
    RETURN_IF_ERROR(CheckRange(range));
  }
  return absl::OkStatus();
}

}  // namespace lazynorm
