// lazynorm_streams: how well models learn real and synthetic streams, beside simple baselines.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/format.h"
#include "model/status_macros.h"
#include "tests/bench/streams/comparison.h"
#include "tests/bench/streams/synthetic.h"

namespace lazynorm {
namespace {

constexpr char kAsTheyCame[] = "as-came";
const std::map<std::string, Order> kOrders = {{kAsTheyCame, Order::kAsTheyCame},
                                              {"shuffled", Order::kShuffled}};

struct Flags {
  std::vector<std::string> paths;
  std::vector<int> rows = {1, 7, 32};
  std::vector<std::string> orders = {kAsTheyCame, "shuffled"};
  int seeds = 3;
  int synthetic_rows = 4000;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  Format output = Format::kTable;
};

// The best that the River project publishes for its own data, row by row and in order.
std::string Published(const std::string& stream) {
  static const std::map<std::string, std::string> kBest = {
      {"chick_weights", "36.6"}, {"image_segments", "0.902"}, {"bananas", "0.889"},
      {"phishing", "0.914"},     {"trump_approval", "0.35"},
  };
  const auto found = kBest.find(stream);
  return found == kBest.end() ? "" : found->second;
}

absl::StatusOr<std::vector<Stream>> LoadStreams(const Flags& flags) {
  std::vector<std::string> files;
  for (const std::string& path : flags.paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    const size_t begin = files.size();
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.path().extension() == ".csv") files.push_back(entry.path());
    }
    std::sort(files.begin() + begin, files.end());
  }
  std::vector<Stream> streams;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(Stream stream, ReadStream(file));
    streams.push_back(std::move(stream));
  }
  for (const auto make : {Sea, Hyperplane, Friedman}) {
    if (flags.synthetic_rows > 0) streams.push_back(make(flags.synthetic_rows));
  }
  return streams;
}

void WriteBlock(const std::vector<Stream>& streams, const std::string& order, int rows,
                const Flags& flags) {
  CsvRow head = {"stream", "measure", "order", "rows"};
  for (const std::string& column : ColumnNames()) head.push_back(column);
  head.push_back("published");
  const bool published = order == kAsTheyCame && rows == 1;
  std::vector<CsvRow> lines;
  for (const Stream& stream : streams) {
    const bool classes = stream.classes > 0;
    CsvRow line = {stream.name, classes ? "accuracy" : "error", order, absl::StrCat(rows)};
    for (const double score :
         Compare(stream, kOrders.at(order), rows, flags.seeds, flags.threads)) {
      line.push_back(classes ? absl::StrFormat("%.3f", score) : absl::StrFormat("%.3g", score));
    }
    line.push_back(published ? Published(stream.name) : "");
    lines.push_back(std::move(line));
  }
  WriteTable(head, lines, flags.output, &std::cout);
  std::cout << std::flush;
}

int Run(const Flags& flags) {
  const absl::StatusOr<std::vector<Stream>> streams = LoadStreams(flags);
  if (!streams.ok()) {
    std::cerr << "lazynorm_streams: " << streams.status().message() << "\n";
    return 1;
  }
  for (const std::string& order : flags.orders) {
    for (const int rows : flags.rows) {
      WriteBlock(*streams, order, rows, flags);
      if (flags.output == Format::kTable) std::cout << "\n";
    }
  }
  return 0;
}

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  using namespace lazynorm;
  Flags flags;
  CLI::App app(
      "Predicts each request of a stream before learning from it, with a model in five ways and\n"
      "with three baselines. Root mean squared error (lower is better) or accuracy, means of "
      "seeds.");
  app.footer(
      "Examples:\n"
      "  tests/bench/streams/fetch.sh build/streams    # needs apt and npm\n"
      "  lazynorm_streams build/streams\n"
      "  lazynorm_streams mine.csv --synthetic 0 --rows 1 --order as-came --output json");
  app.add_option("PATH", flags.paths,
                 "CSV files, or folders of them: numbers with a header, the target last; whole "
                 "targets 0, 1, .. up to 19 are classes")
      ->check(CLI::ExistingPath);
  app.add_option("--rows", flags.rows, "rows of a request")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--order", flags.orders, "as-came, shuffled")
      ->delimiter(',')
      ->check(CLI::IsMember(kOrders))
      ->capture_default_str();
  app.add_option("--seeds", flags.seeds)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--synthetic", flags.synthetic_rows,
                 "rows of each of the three synthetic streams; 0 for none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--threads", flags.threads)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--output", flags.output, "table, json or csv")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Format>{
              {"table", Format::kTable}, {"json", Format::kJson}, {"csv", Format::kCsv}},
          CLI::ignore_case))
      ->default_str("table");
  CLI11_PARSE(app, argc, argv);
  return Run(flags);
}
