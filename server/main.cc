// lazynormd: flags to Options, Options to Server, wait for the signal.
#include <malloc.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/options.h"
#include "server/server.h"

namespace {

const lazynorm::Options kDefaults;

}  // namespace

ABSL_FLAG(std::vector<std::string>, listen, kDefaults.listen,
          "where to serve gRPC: host:port and unix:path, separated by commas; port 0 picks one");
ABSL_FLAG(std::string, metrics_listen, kDefaults.metrics_listen,
          "where to serve /metrics, /healthz and /readyz over HTTP; empty for nowhere");
ABSL_FLAG(std::string, models_dir, "",
          "a folder of NAME.textproto or NAME.json, each a lazynorm.v1.ModelSpec: created at start "
          "where there is no model NAME");
ABSL_FLAG(absl::Duration, drain_seconds, kDefaults.drain,
          "how long to serve on after SIGTERM, not ready any more, such as 5s");
ABSL_FLAG(int, compute_threads, kDefaults.compute_threads,
          "threads for learning steps, and as many for large predictions; 0: one a core");
ABSL_FLAG(int, polling_threads, kDefaults.polling_threads,
          "threads that read requests and answer small ones; one is the fastest on few cores");
ABSL_FLAG(int64_t, max_message_bytes, kDefaults.max_message_bytes, "largest request");
ABSL_FLAG(int, max_rows_per_request, kDefaults.max_rows_per_request, "rows of one request");
ABSL_FLAG(int, max_width, kDefaults.max_width, "widest layer");
ABSL_FLAG(int64_t, max_parameters, kDefaults.max_parameters, "parameters of one model");
ABSL_FLAG(int, max_models, kDefaults.max_models, "models");
ABSL_FLAG(int, max_queued_steps, kDefaults.max_queued_steps,
          "Train requests of one model that may wait; more are refused at once");
ABSL_FLAG(int, max_streams, kDefaults.max_streams, "streams open at once");

namespace {

lazynorm::Options FromFlags() {
  return {.listen = absl::GetFlag(FLAGS_listen),
          .metrics_listen = absl::GetFlag(FLAGS_metrics_listen),
          .models_dir = absl::GetFlag(FLAGS_models_dir),
          .drain = absl::GetFlag(FLAGS_drain_seconds),
          .compute_threads = absl::GetFlag(FLAGS_compute_threads),
          .polling_threads = absl::GetFlag(FLAGS_polling_threads),
          .max_message_bytes = absl::GetFlag(FLAGS_max_message_bytes),
          .max_rows_per_request = absl::GetFlag(FLAGS_max_rows_per_request),
          .max_width = absl::GetFlag(FLAGS_max_width),
          .max_parameters = absl::GetFlag(FLAGS_max_parameters),
          .max_models = absl::GetFlag(FLAGS_max_models),
          .max_queued_steps = absl::GetFlag(FLAGS_max_queued_steps),
          .max_streams = absl::GetFlag(FLAGS_max_streams)};
}

// Large messages would otherwise be mapped and unmapped on every call.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
}

// SIGTERM and SIGINT, held back from all threads to be waited for; writing to a closed pipe is an
// error like others.
sigset_t BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// True if a signal came within `time`.
bool WaitForSignal(const sigset_t& signals, absl::Duration time) {
  const timespec limit = absl::ToTimespec(time);
  return sigtimedwait(&signals, nullptr, &limit) > 0;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "A model server that learns while it serves.\n\n"
      "  lazynormd                                     on 127.0.0.1:50051\n"
      "  lazynormd --listen=unix:/tmp/lazynorm.sock --metrics_listen=\n"
      "  lazynormd --flagfile=lazynormd.flags\n");
  absl::SetFlagsUsageConfig(
      {.version_string = [] { return absl::StrCat("lazynormd ", lazynorm::Version(), "\n"); }});
  absl::ParseCommandLine(argc, argv);
  spdlog::set_default_logger(spdlog::stderr_logger_mt("lazynormd"));
  spdlog::set_pattern("time=%Y-%m-%dT%H:%M:%S.%e%z level=%l %v");
  KeepFreedMemory();
  const sigset_t signals = BlockSignals();

  auto server = lazynorm::Server::Start(FromFlags());
  if (!server.ok()) {
    fprintf(stderr, "lazynormd: %s\n", std::string(server.status().message()).c_str());
    return 1;
  }
  while (sigwaitinfo(&signals, nullptr) < 0) {
  }
  (*server)->BeginDrain();
  if (WaitForSignal(signals, absl::GetFlag(FLAGS_drain_seconds))) _exit(1);
  // From now on a signal ends the process at once.
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*server)->Stop(absl::Seconds(30));
  spdlog::info("event=stopped");
  return 0;
}
