#ifndef LAZYNORM_TESTS_SUPPORT_POSTGRES_SERVER_H_
#define LAZYNORM_TESTS_SUPPORT_POSTGRES_SERVER_H_

#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lazynorm {

// A PostgreSQL of its own in a temporary folder, reached through a unix socket there; it ends with
// this. Runs as the user postgres where the tests run as root, which PostgreSQL refuses. Whatever
// cannot be done ends the process: without it there is nothing to test. Thread-compatible.
class PostgresServer {
 public:
  // `settings` such as "max_connections=200". `folder`: where it keeps its data; a temporary one if
  // that is empty.
  explicit PostgresServer(std::vector<std::string> settings = {}, const std::string& folder = "")
      : settings_(std::move(settings)) {
    const std::filesystem::path base =
        folder.empty() ? std::filesystem::temp_directory_path() : std::filesystem::path(folder);
    folder_ = (base / "lazynorm-pg.XXXXXX").string();
    Check(mkdtemp(folder_.data()) != nullptr, "mkdtemp");
    if (user_ != nullptr) Check(chown(folder_.c_str(), user_->pw_uid, user_->pw_gid) == 0, "chown");
    const int made = Wait(Launch({Bin("initdb"), "-D", folder_ + "/data", "-U", "postgres", "-A",
                                  "trust", "-E", "UTF8", "--locale=C", "--no-sync"}));
    Check(made == 0, "initdb");
    Start();
  }
  ~PostgresServer() {
    Stop();
    std::filesystem::remove_all(folder_);
  }
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  void Start() {
    std::vector<std::string> command = {Bin("postgres"), "-D", folder_ + "/data", "-k", folder_};
    for (const std::string& setting :
         {std::string("listen_addresses="), std::string("shared_buffers=32MB")}) {
      command.insert(command.end(), {"-c", setting});
    }
    for (const std::string& setting : settings_) command.insert(command.end(), {"-c", setting});
    pid_ = Launch(std::move(command));
    for (int i = 0; i < 2400; ++i) {  // two minutes: what a crash has left is read first
      if (PQping(Uri("postgres").c_str()) == PQPING_OK) return;
      usleep(50'000);
    }
    Check(false, "waiting for postgres");
  }
  // SIGINT ends it in good order, SIGQUIT as a crash would.
  void Stop(int signal = SIGINT) {
    if (pid_ == 0) return;
    kill(pid_, SIGCONT);
    kill(pid_, signal);
    Wait(std::exchange(pid_, 0));
  }

  // An empty database that nobody else uses.
  std::string NewDatabase() {
    const std::string name = absl::StrCat("test", ++databases_);
    Query(Uri("postgres"), "create database " + name);
    return Uri(name);
  }
  std::string Uri(const std::string& database) const {
    return absl::StrCat("postgresql://postgres@/", database, "?host=", folder_);
  }

  // The first column of the first row; "" if there is none.
  static std::string Query(const std::string& uri, const std::string& sql) {
    const std::unique_ptr<PGconn, void (*)(PGconn*)> c(PQconnectdb(uri.c_str()), PQfinish);
    const std::unique_ptr<PGresult, void (*)(PGresult*)> r(PQexec(c.get(), sql.c_str()), PQclear);
    const ExecStatusType status = PQresultStatus(r.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
      fprintf(stderr, "%s: %s", sql.c_str(), PQerrorMessage(c.get()));
      abort();
    }
    return PQntuples(r.get()) > 0 ? PQgetvalue(r.get(), 0, 0) : "";
  }

 private:
  static void Check(bool fine, const char* what) {
    if (fine) return;
    perror(what);
    fprintf(stderr, "PostgreSQL for the tests: %s failed\n", what);
    abort();
  }
  static std::string Bin(const std::string& program) {
    return "/usr/lib/postgresql/15/bin/" + program;
  }
  static int Wait(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }

  pid_t Launch(std::vector<std::string> command) const {
    std::vector<char*> words;
    for (std::string& word : command) words.push_back(word.data());
    words.push_back(nullptr);
    const std::string log = folder_ + "/log";
    const pid_t pid = fork();
    Check(pid >= 0, "fork");
    if (pid > 0) return pid;
    if (user_ != nullptr && (setgid(user_->pw_gid) != 0 || setuid(user_->pw_uid) != 0)) _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (chdir("/") != 0 || freopen(log.c_str(), "a", stdout) == nullptr ||
        freopen(log.c_str(), "a", stderr) == nullptr) {
      _exit(126);
    }
    signal(SIGPIPE, SIG_DFL);
    execv(words[0], words.data());
    _exit(127);
  }

  const std::vector<std::string> settings_;
  const passwd* const user_ = geteuid() == 0 ? getpwnam("postgres") : nullptr;
  std::string folder_;
  pid_t pid_ = 0;
  int databases_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_POSTGRES_SERVER_H_
