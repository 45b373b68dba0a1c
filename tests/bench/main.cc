// lazynorm_bench: how the server compares with what gRPC itself costs, and what a step costs.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/status_macros.h"
#include "tests/bench/bare_servers.h"
#include "tests/bench/child.h"
#include "tests/bench/report.h"
#include "tests/bench/socket_bench.h"
#include "tests/bench/step_bench.h"

ABSL_FLAG(int, rounds, 5, "how often each loop is run; medians are reported");
ABSL_FLAG(absl::Duration, time, absl::Milliseconds(400), "of one loop, after its warm-up");
ABSL_FLAG(std::string, output, "table", "table, or json: an object a line");
ABSL_FLAG(std::string, server, "", "the lazynormd to measure; by default the one beside this");
ABSL_FLAG(std::string, bare, "", "used by itself: serve as callback or async");

namespace lazynorm {
namespace {

std::string OwnPath() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  return std::string(path, size > 0 ? size : 0);
}

absl::StatusOr<std::vector<Row>> Measure() {
  const std::string self = OwnPath();
  std::string server = absl::GetFlag(FLAGS_server);
  if (server.empty()) server = self.substr(0, self.rfind('/')) + "/lazynormd";
  const int rounds = absl::GetFlag(FLAGS_rounds);
  ASSIGN_OR_RETURN(std::vector<Row> rows, MeasureStep(rounds));
  ASSIGN_OR_RETURN(
      const std::vector<Row> over_the_socket,
      MeasureOverTheSocket(
          {.rounds = rounds, .time = absl::GetFlag(FLAGS_time), .server = server, .self = self}));
  rows.insert(rows.end(), over_the_socket.begin(), over_the_socket.end());
  return rows;
}

int Run() {
  const absl::Time begin = absl::Now();
  const absl::StatusOr<std::vector<Row>> rows = Measure();
  if (!rows.ok()) {
    fprintf(stderr, "lazynorm_bench: %s\n", std::string(rows.status().message()).c_str());
    return 1;
  }
  const bool json = absl::GetFlag(FLAGS_output) == "json";
  fputs((json ? ToJson(*rows) : ToTable(*rows)).c_str(), stdout);
  fprintf(stderr, "\n%d rounds in %s on %ld cores\n", absl::GetFlag(FLAGS_rounds),
          absl::FormatDuration(absl::Trunc(absl::Now() - begin, absl::Seconds(1))).c_str(),
          sysconf(_SC_NPROCESSORS_ONLN));
  return 0;
}

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Compares lazynormd with bare gRPC services; see README.md.");
  absl::ParseCommandLine(argc, argv);
  const std::string bare = absl::GetFlag(FLAGS_bare);
  if (bare == "callback") lazynorm::ServeBareCallback();
  if (bare == "async") lazynorm::ServeBareAsync();
  const std::string output = absl::GetFlag(FLAGS_output);
  if (!bare.empty() || absl::GetFlag(FLAGS_rounds) < 1 || (output != "table" && output != "json")) {
    fputs("lazynorm_bench: expected --rounds of at least 1, --output table or json\n", stderr);
    return 1;
  }
  return lazynorm::Run();
}
