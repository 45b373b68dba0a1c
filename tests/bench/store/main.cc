// lazynorm_store_bench: what durability costs, beside a plain file on the same disk.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "tests/bench/report.h"
#include "tests/bench/store/store_bench.h"

int main(int argc, char** argv) {
  using namespace lazynorm;
  namespace fs = std::filesystem;
  StoreBenchOptions options;
  options.server = (fs::canonical("/proc/self/exe").parent_path() / "lazynormd").string();
  options.folder = fs::current_path().string();
  std::string output = "table";
  std::vector<std::string> parts = {"append", "snapshot", "train", "restart"};
  CLI::App app("What durability costs, beside a plain file that is overwritten and synced.");
  app.add_option("parts", parts, "which to run")
      ->check(CLI::IsMember({"append", "snapshot", "train", "restart"}));
  app.add_option("--rounds", options.rounds, "medians are reported")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--folder", options.folder, "on the disk to measure; here by default")
      ->check(CLI::ExistingDirectory);
  app.add_option("--store", options.store,
                 "the store of append and snapshot, such as postgresql://...; SQLite by default");
  app.add_option("--checkpoint-pages", options.checkpoint_pages,
                 "after how many pages the store moves its log; 0 for its default");
  app.add_option("--server", options.server, "the lazynormd to measure")->check(CLI::ExistingFile);
  app.add_option("--output", output, "table, or json: an object a line")
      ->check(CLI::IsMember({"table", "json"}));
  CLI11_PARSE(app, argc, argv);
  options.folder = fs::canonical(options.folder).string();
  std::vector<Row> rows;
  for (const std::string& part : parts) {
    const auto measured = part == "append"     ? MeasureAppends(options)
                          : part == "snapshot" ? MeasureSnapshot(options)
                          : part == "train"    ? MeasureTrain(options)
                                               : MeasureRestart(options);
    if (!measured.ok()) {
      std::cerr << "lazynorm_store_bench: " << measured.status().message() << "\n";
      return 1;
    }
    rows.insert(rows.end(), measured->begin(), measured->end());
  }
  std::cout << (output == "json" ? ToJson(rows) : ToTable(rows));
  return 0;
}
