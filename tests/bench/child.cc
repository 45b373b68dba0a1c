#include "tests/bench/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

extern char** environ;

namespace lazynorm {
namespace {

absl::Duration Read(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return absl::DurationFromTimespec(time);
}

absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& command, int error_output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, error_output, STDERR_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed == 0) return pid;
  return absl::UnavailableError(absl::StrCat("cannot run ", command[0], ": ", strerror(failed)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Child>> Child::Start(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError("no pipe");
  const absl::StatusOr<pid_t> pid = Spawn(command, ends[1]);
  close(ends[1]);
  if (!pid.ok()) {
    close(ends[0]);
    return pid.status();
  }
  std::unique_ptr<Child> child(new Child(*pid, ends[0]));
  if (absl::Status ready = child->WaitForPort(); !ready.ok()) return ready;
  child->reader_ = std::thread([log = child->log_] {
    char rest[4096];
    while (read(log, rest, sizeof(rest)) > 0) {
    }
  });
  return child;
}

absl::Status Child::WaitForPort() {
  std::string said;
  for (;;) {
    char more[1024];
    const ssize_t size = read(log_, more, sizeof(more));
    if (size <= 0) return absl::UnavailableError(absl::StrCat("the server ended: ", said));
    said.append(more, size);
    const size_t at = said.find(" ports=");
    const size_t end = at == std::string::npos ? at : said.find_first_of(" \n", at + 7);
    if (end == std::string::npos) continue;
    address_ = absl::StrCat("127.0.0.1:", said.substr(at + 7, end - at - 7));
    return absl::OkStatus();
  }
}

Child::~Child() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  if (reader_.joinable()) reader_.join();
  close(log_);
}

absl::Duration Child::CpuTime() const {
  clockid_t clock{};
  clock_getcpuclockid(pid_, &clock);
  return Read(clock);
}

// /proc/PID/statm: size resident ..., in pages.
int64_t Child::ResidentBytes() const {
  std::ifstream statm(absl::StrCat("/proc/", pid_, "/statm"));
  int64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

absl::Duration OwnCpuTime() {
  return Read(CLOCK_PROCESS_CPUTIME_ID);
}

// /proc/stat: cpu user nice system idle iowait irq softirq ..., in ticks.
absl::Duration MachineCpuTime() {
  std::ifstream stat("/proc/stat");
  std::string name;
  int64_t user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0;
  stat >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq;
  const int64_t ticks = user + nice + system + irq + softirq;
  return absl::Seconds(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace lazynorm
