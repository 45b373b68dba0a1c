#ifndef LAZYNORM_TESTS_SERVER_STORE_TESTING_H_
#define LAZYNORM_TESTS_SERVER_STORE_TESTING_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/store/store.h"
#include "tests/support/postgres_server.h"

namespace lazynorm {

// A folder of its own that goes with this.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "lazynorm.XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// One for all tests of this process, started for the first that needs it.
inline PostgresServer& Postgres() {
  static PostgresServer server;
  return server;
}

// Behind the URI of a database: even a busy machine has the time for a connection.
constexpr char kPatient[] = "&connect_timeout=60";

// An empty database of it.
inline std::string NewDatabase() {
  return Postgres().NewDatabase() + kPatient;
}

// Of those who share a database: no pause of this process or of PostgreSQL ends it.
constexpr absl::Duration kLongLease = absl::Minutes(1);

// Waits until it holds; longer than any pause of a busy machine.
inline bool Soon(const std::function<bool()>& holds) {
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (!holds()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

inline std::string ReasonIn(const absl::Status& status) {
  const auto payload = status.GetPayload("lazynorm/reason");
  return payload.has_value() ? std::string(*payload) : "";
}

// The i-th record of a model's life, one step each.
inline Record RecordOf(int i, size_t size = 100) {
  std::string payload = absl::StrCat("record ", i, " ");
  while (payload.size() < size) payload += static_cast<char>('a' + (i + payload.size()) % 26);
  return {.step = i, .kind = 2, .request_id = absl::StrCat("r", i), .payload = payload};
}

inline std::vector<Record> Records(int first, int last, size_t size = 100) {
  std::vector<Record> records;
  for (int i = first; i <= last; ++i) records.push_back(RecordOf(i, size));
  return records;
}

// Appends, and waits for the word on it.
inline absl::Status AppendAndWait(Journal& journal, std::vector<Record> records) {
  std::promise<absl::Status> heard;
  journal.Append(std::move(records),
                 [&](absl::Status status) { heard.set_value(std::move(status)); });
  return heard.get_future().get();
}

inline absl::Status SnapshotAndWait(Journal& journal, std::string bytes) {
  std::promise<absl::Status> heard;
  journal.WriteSnapshot({journal.end(), "test", std::move(bytes)},
                        [&](absl::Status status) { heard.set_value(std::move(status)); });
  return heard.get_future().get();
}

inline absl::StatusOr<CheckpointInfo> CheckpointAndWait(Journal& journal, std::string label,
                                                        std::string bytes) {
  std::promise<absl::StatusOr<CheckpointInfo>> heard;
  journal.WriteCheckpoint(
      std::move(label), absl::FromUnixSeconds(7), {journal.end(), "test", std::move(bytes)},
      [&](absl::StatusOr<CheckpointInfo> info) { heard.set_value(std::move(info)); });
  return heard.get_future().get();
}

// What reading a model back gave.
struct History {
  std::string snapshot;  // "" for none
  std::vector<Record> records;
  std::vector<std::string> warnings;

  // The steps of the records, such as "3 4 5".
  std::string steps() const {
    std::string text;
    for (const Record& record : records)
      absl::StrAppend(&text, text.empty() ? "" : " ", record.step);
    return text;
  }
  bool as_written(size_t size = 100) const {
    return as_written([size](int64_t) { return size; });
  }
  bool as_written(const std::function<size_t(int64_t step)>& size_of) const {
    for (const Record& record : records) {
      const Record expected = RecordOf(static_cast<int>(record.step), size_of(record.step));
      if (record.payload != expected.payload || record.request_id != expected.request_id)
        return false;
    }
    return true;
  }
};

inline Reader ReaderInto(History& history) {
  return {.on_snapshot =
              [&history](const Snapshot& snapshot) {
                history.snapshot = snapshot.bytes;
                return absl::OkStatus();
              },
          .on_record =
              [&history](const Position& at, const Record& record) {
                EXPECT_EQ(at.step, record.step);
                history.records.push_back(record);
                return absl::OkStatus();
              },
          .on_warning = [&history](const std::string& text) { history.warnings.push_back(text); }};
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_STORE_TESTING_H_
