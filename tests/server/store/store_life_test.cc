// A store on a disk lives at random, is killed and opened again with other options, and has to have
// what it acknowledged. LAZYNORM_STORE_LIVES: how many of its processes; more by hand.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/server/store/testing.h"

namespace lazynorm {
namespace {

namespace fs = std::filesystem;

constexpr int kNames = 6;

// What must be there of a name's model. In memory that outlives the process which is killed.
struct Life {
  enum State { kNone, kComing, kThere, kGoing };
  State state = kNone;
  int64_t born = 0;                             // which model of that name
  int64_t sent = -1, kept = -1;                 // steps: asked for, acknowledged
  int64_t checkpoint = 0, checkpoint_step = 0;  // 0: none
};
struct Account {
  std::array<Life, kNames> lives;
  int64_t births = 0, records = 0, backups = 0;
  std::array<char, 1000> failure;
};

int Lives() {
  const char* const text = getenv("LAZYNORM_STORE_LIVES");
  int lives = 0;
  return text != nullptr && absl::SimpleAtoi(text, &lives) ? lives : 30;
}

std::string NameOf(int i) {
  return absl::StrCat("model-", i);
}

// Mostly small; some need segments of their own, some go into the database.
std::string TextOf(int64_t born, int64_t step, absl::string_view what) {
  const uint64_t hash = ContentHash(absl::StrCat(born, what, step));
  const size_t most = hash % 40 == 0 ? 90'000 : hash % 7 == 0 ? 8000 : 700;
  std::string text = absl::StrCat(born, " ", what, " ", step, " ");
  text.resize(std::max<size_t>(text.size(), hash / 64 % most), static_cast<char>('a' + hash % 26));
  return text;
}

// One process of the store's life: what it expects, does and leaves behind.
class Session {
 public:
  Session(const fs::path& folder, Account& account, unsigned seed)
      : folder_(folder), account_(account), random_(seed) {}

  [[noreturn]] void Run() {
    store_ = Open(folder_ / "data");
    Check(*store_, account_.lives, true);
    const int acts = Random(60);
    for (int i = 0; i < acts; ++i) Act();
    if (Random(3) > 0) Die();
    if (backup_.joinable()) EndBackup();
    journals_ = {};
    store_.reset();
    _exit(0);
  }

 private:
  int Random(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  void Expect(bool right, const std::string& what) {
    if (right) return;
    what.copy(account_.failure.data(), account_.failure.size() - 1);
    _exit(1);
  }

  std::unique_ptr<Store> Open(const fs::path& data) {
    StoreOptions options;
    const int durability = Random(6);
    options.durability = durability == 0   ? Durability::kAsync
                         : durability == 1 ? Durability::kNone
                                           : Durability::kFsync;
    options.snapshots_per_model = 2 + Random(3);
    options.checkpoint_pages = 100;
    options.journal_segment_bytes = 1 << 10;
    options.hooks.on_warning = [this](const std::string& text) { Expect(false, text); };
    options.hooks.on_fatal = [this](const std::string& text) { Expect(false, text); };
    auto store = OpenStore(absl::StrCat("sqlite://", data.string(), "/lazynorm.db"), options);
    Expect(store.ok(), store.status().ToString());
    return *std::move(store);
  }

  // What comes back of the model of that birth must be as it was sent; without a gap up to the end.
  Reader ReaderOf(int64_t born, int64_t* step) {
    *step = -1;
    Reader reader;
    reader.on_snapshot = [this, born, step](const Snapshot& snapshot) {
      Expect(*step == -1 || *step == snapshot.at.step, "a snapshot out of its place");
      *step = snapshot.at.step;
      Expect(snapshot.bytes == TextOf(born, *step, "state"), "another snapshot");
      return absl::OkStatus();
    };
    reader.on_record = [this, born, step](const Position& at, const Record& record) {
      Expect(record.step == *step + 1 && at.step == record.step,
             absl::StrCat("step ", record.step, " behind ", *step));
      *step = record.step;
      Expect(record.payload == TextOf(born, *step, "step"), "another record");
      return absl::OkStatus();
    };
    reader.on_warning = [this](const std::string& text) { Expect(false, text); };
    return reader;
  }

  // Of `lives`, all must be there, and nothing else. `own`: it is this store, which goes on.
  void Check(Store& store, std::array<Life, kNames> lives, bool own) {
    std::vector<std::string> names;
    const auto models = store.Models();
    Expect(models.ok(), models.status().ToString());
    for (const StoredModel& model : *models) names.push_back(model.model);
    for (int i = 0; i < kNames; ++i) {
      Life& life = lives[static_cast<size_t>(i)];
      const bool there = std::count(names.begin(), names.end(), NameOf(i)) > 0;
      const std::string what = absl::StrCat(NameOf(i), ", born ", life.born, ": ");
      if (life.state == Life::kThere) Expect(there, what + "is gone");
      if (life.state == Life::kNone) Expect(!there, what + "is back");
      if (there) CheckModel(store, i, life, own);
      if (own && !there) life = {};
      if (own && there) life.state = Life::kThere;
    }
    if (own) account_.lives = lives;
  }

  void CheckModel(Store& store, int i, Life& life, bool own) {
    const std::string what = absl::StrCat(NameOf(i), ", born ", life.born, ": ");
    int64_t step = 0;
    auto journal = store.Open(NameOf(i), ReaderOf(life.born, &step));
    Expect(journal.ok(), what + journal.status().ToString());
    Expect(step >= life.kept && step <= life.sent,
           absl::StrCat(what, "ends at ", step, ", expected ", life.kept, " to ", life.sent));
    CheckHistory(store, i, life.born, step);
    if (life.checkpoint != 0) {
      const auto checkpoint = store.ReadCheckpoint(NameOf(i), absl::StrCat(life.checkpoint));
      Expect(checkpoint.ok(), what + checkpoint.status().ToString());
      Expect(checkpoint->bytes == TextOf(life.born, life.checkpoint_step, "state"),
             what + "another checkpoint");
    }
    if (!own) return;
    life.sent = life.kept = step;
    journals_[static_cast<size_t>(i)] = *std::move(journal);
  }

  void CheckHistory(Store& store, int i, int64_t born, int64_t last) {
    const std::string what = absl::StrCat(NameOf(i), ", born ", born, ": ");
    int64_t step = 0;
    const auto end = store.ReadHistory(NameOf(i), ReaderOf(born, &step));
    Expect(end.ok(), absl::StrCat(what, "history: ", end.status().ToString()));
    Expect(step == last && end->step == last, what + "another end of its history");
    const int64_t past = Random(static_cast<int>(last) + 1);
    const absl::Status status = store.ReadAt(NameOf(i), past, ReaderOf(born, &step));
    Expect(status.ok() ? step == past : absl::IsOutOfRange(status),
           absl::StrCat(what, "at ", past, ": ", status.ToString()));
  }

  void Act() {
    const int i = Random(kNames), what = Random(100);
    Life& life = account_.lives[static_cast<size_t>(i)];
    if (life.state == Life::kNone) return Create(i);
    Journal& journal = *journals_[static_cast<size_t>(i)];
    if (what < 60) {
      AppendToSome(true);
    } else if (what < 80) {
      const absl::Status kept = SnapshotAndWait(journal, TextOf(life.born, life.kept, "state"));
      Expect(kept.ok(), kept.ToString());
    } else if (what < 84) {
      Checkpoint(journal, life, i);
    } else if (what < 88) {
      Delete(i);
    } else if (what < 96) {
      CheckModel(*store_, i, life, true);
    } else if (!backup_.joinable()) {
      BeginBackup();
    } else {
      EndBackup();
    }
  }

  void Create(int i) {
    Life& life = account_.lives[static_cast<size_t>(i)];
    life = {};
    life.state = Life::kComing;
    life.born = ++account_.births;
    life.sent = 0;
    auto journal = store_->Create(NameOf(i), RecordAt(life.born, 0));
    Expect(journal.ok(), journal.status().ToString());
    journals_[static_cast<size_t>(i)] = *std::move(journal);
    life.state = Life::kThere;
    life.kept = 0;
  }

  void Delete(int i) {
    Life& life = account_.lives[static_cast<size_t>(i)];
    life.state = Life::kGoing;
    const absl::Status gone = store_->Delete(NameOf(i));
    Expect(gone.ok(), gone.ToString());
    journals_[static_cast<size_t>(i)].reset();
    life = {};
  }

  void Checkpoint(Journal& journal, Life& life, int i) {
    if (life.checkpoint != 0) {
      const auto before = std::exchange(life.checkpoint, 0);
      const absl::Status gone = store_->DeleteCheckpoint(NameOf(i), absl::StrCat(before));
      Expect(gone.ok(), gone.ToString());
    }
    const auto info = CheckpointAndWait(journal, "", TextOf(life.born, life.kept, "state"));
    Expect(info.ok(), info.status().ToString());
    life.checkpoint_step = life.kept;
    Expect(absl::SimpleAtoi(info->id, &life.checkpoint), info->id);
  }

  static Record RecordAt(int64_t born, int64_t step) {
    return {step, 1, absl::StrCat("r", step), TextOf(born, step, "step")};
  }

  // Several models at once: they share frames.
  void AppendToSome(bool wait) {
    std::vector<std::future<absl::Status>> heard;
    for (int i = 0; i < kNames; ++i) {
      Life& life = account_.lives[static_cast<size_t>(i)];
      if (life.state != Life::kThere || Random(3) == 0) continue;
      std::vector<Record> records;
      for (int k = Random(4); k >= 0; --k) records.push_back(RecordAt(life.born, ++life.sent));
      account_.records += static_cast<int64_t>(records.size());
      auto word = std::make_shared<std::promise<absl::Status>>();
      heard.push_back(word->get_future());
      journals_[static_cast<size_t>(i)]->Append(
          std::move(records), [word, &life, step = life.sent](absl::Status status) {
            if (status.ok()) life.kept = step;
            word->set_value(std::move(status));
          });
    }
    for (size_t i = 0; wait && i < heard.size(); ++i) {
      const absl::Status kept = heard[i].get();
      Expect(kept.ok(), kept.ToString());
    }
  }

  // While the others go on: each model as it was at some moment meanwhile.
  void BeginBackup() {
    for (const char* name : {"backup", "other"}) fs::remove_all(folder_ / name);
    before_ = account_.lives;
    backup_ = std::thread([this] { made_ = store_->Backup(folder_ / "backup"); });
  }
  void EndBackup() {
    backup_.join();
    Expect(made_.ok(), absl::StrCat("backup: ", made_.ToString()));
    const std::string uri = absl::StrCat("sqlite://", (folder_ / "other/lazynorm.db").string());
    const absl::Status restored = RestoreBackup(uri, folder_ / "backup");
    Expect(restored.ok(), restored.ToString());
    StoreOptions options;
    options.snapshots_per_model = 4;
    const auto copy = OpenStore(uri, options);
    Expect(copy.ok(), copy.status().ToString());
    for (int i = 0; i < kNames; ++i) {
      Life life = before_[static_cast<size_t>(i)];
      const Life& now = account_.lives[static_cast<size_t>(i)];
      if (life.state != Life::kThere || now.born != life.born) continue;
      life.sent = now.sent;
      CheckCopy(**copy, i, life);
    }
    ++account_.backups;
  }
  void CheckCopy(Store& store, int i, const Life& life) {
    int64_t step = 0;
    const auto journal = store.Open(NameOf(i), ReaderOf(life.born, &step));
    Expect(journal.ok(), absl::StrCat("backup of ", NameOf(i), ": ", journal.status().ToString()));
    Expect(step >= life.kept && step <= life.sent, "another end in the backup");
    int64_t last = 0;
    const auto end = store.ReadHistory(NameOf(i), ReaderOf(life.born, &last));
    Expect(end.ok(), absl::StrCat("backup, history: ", end.status().ToString()));
    Expect(last == step, "another end of the history in the backup");
  }

  [[noreturn]] void Die() {
    for (int i = Random(4); i > 0; --i) AppendToSome(false);
    if (Random(2) == 0) usleep(static_cast<useconds_t>(Random(3000)));
    kill(getpid(), SIGKILL);
    while (true) pause();
  }

  const fs::path folder_;
  Account& account_;
  std::mt19937 random_;
  std::unique_ptr<Store> store_;
  std::array<std::unique_ptr<Journal>, kNames> journals_;
  std::thread backup_;
  absl::Status made_;                // what the backup said
  std::array<Life, kNames> before_;  // when it began
};

TEST(StoreLifeTest, WhatWasAcknowledgedIsThereAfterEachEnd) {
  const TempFolder folder;
  void* const shared =
      mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto& account = *new (shared) Account();
  int killed = 0;
  for (int life = 0; life < Lives(); ++life) {
    const pid_t child = fork();
    if (child == 0) Session(folder.path(), account, static_cast<unsigned>(life)).Run();
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    killed += WIFSIGNALED(status);
    ASSERT_STREQ(account.failure.data(), "") << "in process " << life;
    ASSERT_TRUE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0)
        << "process " << life << ": " << status;
  }
  EXPECT_GT(killed, Lives() / 4);
  EXPECT_GT(account.records, 10 * Lives());
  std::cout << account.records << " records of " << account.births << " models, " << killed
            << " kills, " << account.backups << " backups\n";
  munmap(shared, sizeof(Account));
}

}  // namespace
}  // namespace lazynorm
