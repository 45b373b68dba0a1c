// Appends against takeovers, fired at the same instant: whoever was replaced never writes again,
// and whoever replaced it has read all that was ever acknowledged. Random freezes almost never meet
// the instant that matters, so it is constructed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "server/store/postgres_committer.h"
#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

int64_t EnvironmentOr(const char* name, int64_t otherwise) {
  const char* const text = getenv(name);
  int64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

// Of who must not lose its lease, though it may get no time to run for seconds.
constexpr absl::Duration kLongLease = absl::Seconds(60);

std::unique_ptr<Store> MustOpen(const std::string& uri, absl::Duration lease) {
  auto store = OpenStore(uri, {.lease_timeout = lease});
  if (!store.ok()) {
    std::cerr << store.status() << "\n";
    abort();
  }
  return *std::move(store);
}

std::string Sql(const std::string& uri, const std::string& sql) {
  return PostgresServer::Query(uri, "set search_path = lazynorm; " + sql);
}

// Rows that an earlier epoch has written behind those of a later one.
std::string LateRows(const std::string& uri) {
  return Sql(uri,
             "select count(*) from journal j where exists(select from journal k where "
             "k.model_id = j.model_id and k.epoch > j.epoch and k.seq < j.seq)");
}

// The writer that is being replaced: its committer, which nothing tells of it.
class OldWriter {
 public:
  OldWriter(const std::string& uri, int64_t model_id)
      : model_id_(model_id), committer_({.uri = uri}, {}, [] { return int64_t{1}; }) {}

  // Appends the record of one step behind `end`, as of that epoch.
  absl::Status Append(int64_t epoch, const Position& end) {
    auto tenure = std::make_shared<Tenure>();
    tenure->model_id = model_id_;
    tenure->model = "m";
    tenure->holder = 1;
    tenure->epoch = epoch;
    PgWrite write = {.tenure = tenure};
    write.rows.push_back(
        ChainRow(model_id_, end, end.seq + 1, RecordOf(static_cast<int>(end.step + 1))));
    return committer_.SubmitAndWait(std::move(write));
  }

 private:
  const int64_t model_id_;
  PgCommitter committer_;
};

TEST(PostgresFenceTest, NoAppendComesLate) {
  const int64_t rounds = EnvironmentOr("LAZYNORM_FENCE_ROUNDS", 300);
  const std::string uri = Postgres().NewDatabase();
  const auto store = MustOpen(uri, kLongLease);
  auto journal = store->Create("m", RecordOf(0));
  ASSERT_TRUE(journal.ok()) << journal.status();
  int64_t model_id = 0;
  ASSERT_TRUE(absl::SimpleAtoi(Sql(uri, "select model_id from model"), &model_id));
  OldWriter old(uri, model_id);
  std::mt19937 random(8);
  Position end = (*journal)->end();
  int64_t kept = 0, fenced = 0, late = 0;
  absl::Duration head_start;  // of the takeover, found out here: on this machine both are as fast
  for (int64_t round = 1; round <= rounds; ++round) {
    // Both begin together, or one of them a little later.
    const auto lag = head_start + absl::Microseconds(static_cast<int>(random() % 6000) - 3000);
    std::barrier both(2);
    absl::Status appended;
    std::thread writer([&] {
      both.arrive_and_wait();
      absl::SleepFor(std::max(lag, absl::ZeroDuration()));
      appended = old.Append(round, end);
    });
    both.arrive_and_wait();
    absl::SleepFor(std::max(-lag, absl::ZeroDuration()));
    History history;
    Reader reader = ReaderInto(history);
    reader.from = end;
    journal = store->Open("m", reader);
    writer.join();
    if (absl::IsDataLoss(journal.status())) {  // it came between taking and reading
      ++late;
      break;
    }
    ASSERT_TRUE(journal.ok()) << journal.status();
    const bool seen = !history.records.empty();
    ++(appended.ok() ? kept : fenced);
    head_start += absl::Microseconds(appended.ok() ? 200 : -200);
    if (appended.ok() != seen) ++late;
    EXPECT_TRUE(appended.ok() || ReasonIn(appended) == "NOT_HOLDER") << appended;
    const absl::Status next =
        AppendAndWait(**journal, {RecordOf(static_cast<int>((*journal)->end().step + 1))});
    late += next.ok() ? 0 : 1;  // a late row has taken its place
    if (late > 0) break;
    end = (*journal)->end();
  }
  std::cout << rounds << " races: " << kept << " appends came first, " << fenced << " were fenced, "
            << late << " late\n";
  EXPECT_EQ(late, 0);
  EXPECT_EQ(LateRows(uri), "0");
  EXPECT_TRUE(late > 0 || std::min(kept, fenced) > rounds / 20) << "the race was not one";
  History history;
  EXPECT_TRUE(store->Open("m", ReaderInto(history)).ok());
  EXPECT_TRUE(history.as_written());
}

constexpr absl::Duration kLease = absl::Seconds(4);

// A process that writes under that lease as fast as it can and tells of each step that was
// acknowledged.
class WriterProcess {
 public:
  explicit WriterProcess(const std::string& uri) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const std::string self = std::filesystem::canonical("/proc/self/exe").string();
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], 1);
      execl(self.c_str(), self.c_str(), "--writer", uri.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    steps_ = fdopen(ends[0], "r");
  }
  ~WriterProcess() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    fclose(steps_);
  }
  // Reads on until that step was acknowledged.
  void WaitFor(int64_t step) {
    while (acknowledged_ < step && ReadOne()) {
    }
  }
  // Reads on until it says that it may not write any more. Returns the last acknowledged step.
  int64_t WaitForEnd() {
    while (ReadOne()) {
    }
    return acknowledged_;
  }
  // It stands still when this returns.
  void Freeze() {
    kill(pid_, SIGSTOP);
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, WUNTRACED), pid_);
    EXPECT_TRUE(WIFSTOPPED(status)) << "it has ended before it was frozen: " << last_words_;
  }
  void WakeUp() { kill(pid_, SIGCONT); }
  const std::string& last_words() const { return last_words_; }

 private:
  bool ReadOne() {
    char line[256];
    if (fgets(line, sizeof(line), steps_) == nullptr) return false;
    if (absl::SimpleAtoi(line, &acknowledged_)) return true;
    last_words_ = line;
    return false;
  }

  pid_t pid_ = 0;
  FILE* steps_ = nullptr;
  int64_t acknowledged_ = 0;
  std::string last_words_;
};

TEST(PostgresFenceTest, AFrozenWriterThatWakesUpMayNotWrite) {
  const int64_t rounds = EnvironmentOr("LAZYNORM_FREEZE_ROUNDS", 3);
  for (int64_t round = 0; round < rounds; ++round) {
    const std::string uri = Postgres().NewDatabase();
    const auto store = MustOpen(uri, kLongLease);
    WriterProcess writer(uri);
    writer.WaitFor(50);
    writer.Freeze();
    const absl::Time begin = absl::Now();
    int64_t refused = 0;
    absl::StatusOr<std::unique_ptr<Journal>> journal;
    History history;
    while (true) {
      history = {};
      journal = store->Open("m", ReaderInto(history));
      if (journal.ok() || absl::Now() > begin + kLease + absl::Seconds(30)) break;
      ++refused;
      EXPECT_EQ(ReasonIn(journal.status()), "NOT_HOLDER") << journal.status();
      absl::SleepFor(absl::Milliseconds(20));
    }
    ASSERT_TRUE(journal.ok()) << journal.status();
    std::cout << "taken over after " << absl::Now() - begin << " of a lease of " << kLease << "\n";
    EXPECT_GT(refused, 0) << "its lease did not outlast it";
    const int64_t taken = history.records.back().step;
    EXPECT_TRUE(AppendAndWait(**journal, {RecordOf(static_cast<int>(taken + 1))}).ok());
    writer.WakeUp();
    EXPECT_LE(writer.WaitForEnd(), taken) << "acknowledged, and not read by the next writer";
    EXPECT_NE(writer.last_words(), "") << "it still writes";
    EXPECT_EQ(LateRows(uri), "0");
    History all;
    ASSERT_TRUE(store->Open("m", ReaderInto(all)).ok());
    EXPECT_EQ(all.records.back().step, taken + 1);
    EXPECT_TRUE(all.as_written());
  }
}

int Write(const std::string& uri) {
  const auto store = MustOpen(uri, kLease);
  const auto journal = store->Create("m", RecordOf(0));
  if (!journal.ok()) return 1;
  for (int step = 1;; ++step) {
    const absl::Status kept = AppendAndWait(**journal, {RecordOf(step)});
    if (!kept.ok()) {
      std::cout << "refused: " << kept.message() << std::endl;
      return 0;
    }
    std::cout << step << std::endl;
  }
}

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--writer") return lazynorm::Write(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
