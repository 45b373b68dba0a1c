// lazynormd: flags to Options, Options to Server, wait for the signal.
#include <malloc.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/flags.h"
#include "server/migration.h"
#include "server/options.h"
#include "server/rpc/grpc_log.h"
#include "server/server.h"

namespace {

// Large messages would otherwise be mapped and unmapped on every call.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
}

// Debian's Abseil is a debug build, whose locks look for deadlocks: at each of gRPC's, all threads
// write to one graph.
void LockWithoutLooking() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

// SIGTERM and SIGINT, held back from all threads to be waited for; writing to a closed pipe is an
// error like others.
sigset_t BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file-size limit is a full disk
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// True if a signal came within `time`. A process that is stopped and goes on waits on.
bool WaitForSignal(const sigset_t& signals, absl::Duration time) {
  const auto begin = std::chrono::steady_clock::now();
  do {
    const auto past = absl::FromChrono(std::chrono::steady_clock::now() - begin);
    const timespec limit = absl::ToTimespec(std::max(time - past, absl::ZeroDuration()));
    if (sigtimedwait(&signals, nullptr, &limit) > 0) return true;
  } while (errno == EINTR);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "A model server that learns while it serves.\n\n"
      "  lazynormd                                     on 127.0.0.1:50051\n"
      "  lazynormd --listen=unix:/tmp/lazynorm.sock --metrics_listen=\n"
      "  lazynormd --flagfile=lazynormd.flags\n");
  absl::FlagsUsageConfig usage;
  usage.version_string = [] { return absl::StrCat("lazynormd ", lazynorm::Version(), "\n"); };
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, lazynorm::kFlagsFile);
  };
  usage.normalize_filename = [](absl::string_view file) {
    return std::string(absl::StripPrefix(file, "../"));
  };
  absl::SetFlagsUsageConfig(usage);
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  if (words.size() > 1) {
    fprintf(stderr, "lazynormd: unexpected argument \"%s\"; flags begin with --\n", words[1]);
    return 1;
  }
  spdlog::set_default_logger(spdlog::stderr_logger_mt("lazynormd"));
  spdlog::set_pattern("time=%Y-%m-%dT%H:%M:%S.%e%z level=%l %v");
  lazynorm::LogWhatGrpcSays();
  KeepFreedMemory();
  LockWithoutLooking();
  const sigset_t signals = BlockSignals();

  const lazynorm::Options options = lazynorm::OptionsFromFlags();
  if (!options.migrate_from.empty()) return lazynorm::RunMigration(options);
  auto server = lazynorm::Server::Start(options);
  if (!server.ok()) {
    fprintf(stderr, "lazynormd: %s\n", std::string(server.status().message()).c_str());
    return 1;
  }
  while (sigwaitinfo(&signals, nullptr) < 0) {
  }
  (*server)->BeginDrain();
  if (WaitForSignal(signals, options.drain)) _exit(1);
  // From now on a signal ends the process at once, also where it is process 1 and has no defaults.
  signal(SIGTERM, [](int) { _exit(1); });
  signal(SIGINT, [](int) { _exit(1); });
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*server)->Stop(absl::Seconds(30));
  spdlog::info("event=stopped");
  return 0;
}
