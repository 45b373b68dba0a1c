#include "tests/bench/torch_peer.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

extern char** environ;

namespace lazynorm {
namespace {

// A core type that somebody chose for OpenBLAS may be another machine's.
std::vector<char*> Environment() {
  static char one_thread[] = "OPENBLAS_NUM_THREADS=1";
  std::vector<char*> environment = {one_thread};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!absl::StartsWith(*variable, "OPENBLAS_")) environment.push_back(*variable);
  }
  environment.push_back(nullptr);
  return environment;
}

}  // namespace

std::unique_ptr<TorchPeer> TorchPeer::Start(const std::string& program) {
  if (access(program.c_str(), X_OK) != 0) return nullptr;
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) return nullptr;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  char* arguments[] = {const_cast<char*>(program.c_str()), nullptr};
  pid_t pid = 0;
  const int failed =
      posix_spawn(&pid, arguments[0], &actions, nullptr, arguments, Environment().data());
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  FILE* const to = fdopen(in[1], "w");
  FILE* const from = fdopen(out[0], "r");
  if (failed == 0) return std::unique_ptr<TorchPeer>(new TorchPeer(pid, to, from));
  fclose(to);
  fclose(from);
  return nullptr;
}

TorchPeer::~TorchPeer() {
  fclose(to_);
  fclose(from_);
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

double TorchPeer::Ask(const std::string& line) {
  double answer = 0;
  if (fprintf(to_, "%s\n", line.c_str()) < 0 || fflush(to_) != 0) return 0;
  return fscanf(from_, "%lf", &answer) == 1 ? answer : 0;
}

}  // namespace lazynorm
