#include "tests/bench/streams/comparison.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "tests/bench/streams/baselines.h"
#include "tests/bench/streams/models.h"

namespace lazynorm {
namespace {

// A baseline knows no seed: on rows as they came it is run once.
struct Column {
  std::string name;
  bool seeded;
  std::function<std::unique_ptr<Contestant>(const Stream&, int rows, uint64_t seed)> make;
};

std::vector<Column> Columns() {
  const auto model = [](std::string name, Way way) {
    return Column{std::move(name), true, [way](const Stream& stream, int rows, uint64_t seed) {
                    return MakeModel(way, stream, rows, seed);
                  }};
  };
  return {
      model("torch", Way::kTorch),
      model("RUNNING", Way::kRunning),
      model("replay", Way::kReplay),
      model("both", Way::kRunningAndReplay),
      model("preset", Way::kPreset),
      {"persistence", false, [](const Stream&, int, uint64_t) { return MakePersistence(); }},
      {"mean/majority", false,
       [](const Stream& stream, int, uint64_t) { return MakeMeanOrMajority(stream); }},
      {"linear", false, [](const Stream& stream, int, uint64_t) { return MakeLinear(stream); }},
  };
}

// The first rows tell nothing: nobody has learned yet. Of the weather, as it is quoted, a quarter.
int64_t FirstScored(const Stream& stream, int rows) {
  return stream.name == "seattle-weather" ? stream.rows() / 4 : std::max(rows, 8);
}

// Does all the work, the longest at the end of `work` first.
void RunAll(std::vector<std::function<void()>> work, int threads) {
  std::atomic<int> next = static_cast<int>(work.size());
  const auto run = [&] {
    for (int i = --next; i >= 0; i = --next) work[i]();
  };
  std::vector<std::thread> pool;
  for (int i = 0; i < threads; ++i) pool.emplace_back(run);
  for (std::thread& thread : pool) thread.join();
}

}  // namespace

std::vector<std::string> ColumnNames() {
  std::vector<std::string> names;
  for (const Column& column : Columns()) names.push_back(column.name);
  return names;
}

std::vector<double> Compare(const Stream& stream, Order order, int rows, int seeds, int threads) {
  const bool shuffled = order == Order::kShuffled;
  const std::vector<Column> columns = Columns();
  std::vector<std::vector<double>> scores(columns.size());
  std::vector<std::function<void()>> work;
  for (size_t c = 0; c < columns.size(); ++c) {
    // Another order is another stream: there every column is run with each.
    scores[c].resize(columns[c].seeded || shuffled ? seeds : 1);
    for (size_t seed = 0; seed < scores[c].size(); ++seed) {
      work.push_back([&, c, seed] {
        const Stream run = shuffled ? Shuffled(stream, seed) : stream;
        const auto contestant = columns[c].make(run, rows, seed);
        scores[c][seed] = Prequential(run, rows, FirstScored(run, rows), *contestant);
      });
    }
  }
  RunAll(std::move(work), threads);
  std::vector<double> means;
  for (const std::vector<double>& of : scores) {
    double sum = 0;
    for (const double score : of) sum += score;
    means.push_back(sum / of.size());
  }
  return means;
}

}  // namespace lazynorm
