// lazynorm_bench: how the server compares with what gRPC itself costs, what learning and predicting
// cost beside what the machine can do, and how it all grows.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/status_macros.h"
#include "tests/bench/bare_servers.h"
#include "tests/bench/child.h"
#include "tests/bench/compute_bench.h"
#include "tests/bench/hosting_bench.h"
#include "tests/bench/latency_bench.h"
#include "tests/bench/report.h"
#include "tests/bench/socket_bench.h"
#include "tests/bench/torch_peer.h"

ABSL_FLAG(int, rounds, 5, "how often each loop is run; medians are reported");
ABSL_FLAG(absl::Duration, time, absl::Milliseconds(400), "of one loop, after its warm-up");
ABSL_FLAG(std::vector<std::string>, parts, {}, "of the table, separated by commas; all if empty");
ABSL_FLAG(std::string, output, "table", "table, or json: an object a line");
ABSL_FLAG(std::string, server, "", "the lazynormd to measure; by default the one beside this");
ABSL_FLAG(std::string, bare, "", "used by itself: serve as callback or async");

namespace lazynorm {
namespace {

using Rows = absl::StatusOr<std::vector<Row>>;

std::string OwnPath() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  return std::string(path, size > 0 ? size : 0);
}

Rows Compute(const BenchOptions& options) {
  const std::string folder = options.self.substr(0, options.self.rfind('/'));
  const std::unique_ptr<TorchPeer> torch = TorchPeer::Start(folder + "/lazynorm_torch");
  if (torch == nullptr) {
    fputs(
        "lazynorm_bench: no comparison with libtorch, which is not installed (libtorch-dev, "
        "libopenblas0-pthread; then configure again)\n",
        stderr);
  }
  return MeasureCompute(options.rounds, torch.get());
}

const std::vector<std::pair<std::string, std::function<Rows(const BenchOptions&)>>>& Parts() {
  static const auto* const parts =
      new std::vector<std::pair<std::string, std::function<Rows(const BenchOptions&)>>>{
          {"compute", Compute},
          {"growth", [](const BenchOptions& o) { return MeasureGrowth(o.rounds); }},
          {"socket", MeasureOverTheSocket},
          {"silence", MeasureAfterSilence},
          {"beside", MeasureBesideTraining},
          {"hosting", MeasureHosting},
      };
  return *parts;
}

BenchOptions OptionsFromFlags() {
  BenchOptions options{.rounds = absl::GetFlag(FLAGS_rounds),
                       .time = absl::GetFlag(FLAGS_time),
                       .server = absl::GetFlag(FLAGS_server),
                       .self = OwnPath()};
  if (options.server.empty()) {
    options.server = options.self.substr(0, options.self.rfind('/')) + "/lazynormd";
  }
  return options;
}

absl::Status CheckParts(const std::vector<std::string>& wanted) {
  std::vector<std::string> names;
  for (const auto& [name, measure] : Parts()) names.push_back(name);
  for (const std::string& part : wanted) {
    if (std::find(names.begin(), names.end(), part) != names.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--parts: expected some of ", absl::StrJoin(names, ","), ", got ", part));
  }
  return absl::OkStatus();
}

// Prints each part as soon as it is done.
absl::Status Run() {
  const std::vector<std::string> wanted = absl::GetFlag(FLAGS_parts);
  RETURN_IF_ERROR(CheckParts(wanted));
  const bool json = absl::GetFlag(FLAGS_output) == "json";
  const BenchOptions options = OptionsFromFlags();
  const absl::Time begin = absl::Now();
  for (const auto& [name, measure] : Parts()) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    ASSIGN_OR_RETURN(const std::vector<Row> rows, measure(options));
    fputs((json ? ToJson(rows) : ToTable(rows)).c_str(), stdout);
    fflush(stdout);
  }
  fprintf(stderr, "\n%d rounds in %s on %ld cores\n", options.rounds,
          absl::FormatDuration(absl::Trunc(absl::Now() - begin, absl::Seconds(1))).c_str(),
          sysconf(_SC_NPROCESSORS_ONLN));
  return absl::OkStatus();
}

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Compares lazynormd with bare gRPC services; see README.md.");
  absl::ParseCommandLine(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  const std::string bare = absl::GetFlag(FLAGS_bare);
  if (bare == "callback") lazynorm::ServeBareCallback();
  if (bare == "async") lazynorm::ServeBareAsync();
  const std::string output = absl::GetFlag(FLAGS_output);
  if (!bare.empty() || absl::GetFlag(FLAGS_rounds) < 1 || (output != "table" && output != "json")) {
    fputs("lazynorm_bench: expected --rounds of at least 1, --output table or json\n", stderr);
    return 1;
  }
  const absl::Status status = lazynorm::Run();
  if (status.ok()) return 0;
  fprintf(stderr, "lazynorm_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}
