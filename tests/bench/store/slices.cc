#include "tests/bench/store/slices.h"

#include <thread>

#include "absl/time/clock.h"
#include "tests/bench/median.h"

namespace lazynorm {

Slice RunSlice(int callers, const std::function<void(int caller)>& call,
               const std::function<bool()>& over) {
  std::vector<std::vector<double>> micros(static_cast<size_t>(callers));
  std::vector<std::thread> threads;
  const absl::Time begin = absl::Now();
  for (int i = 0; i < callers; ++i) {
    threads.emplace_back([&, i] {
      while (!over()) {
        const absl::Time sent = absl::Now();
        call(i);
        micros[i].push_back(absl::ToDoubleMicroseconds(absl::Now() - sent));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  std::vector<double> all;
  for (const auto& some : micros) all.insert(all.end(), some.begin(), some.end());
  return {static_cast<double>(all.size()) / seconds, Quantile(all, 0.5), Quantile(all, 0.99),
          Quantile(all, 1)};
}

Slice RunSlice(int callers, const std::function<void(int caller)>& call, absl::Duration time) {
  const absl::Time end = absl::Now() + time;
  return RunSlice(callers, call, [end] { return absl::Now() >= end; });
}

void Comparison::Add(const Slice& first, const Slice& second) {
  slices_[0].push_back(first);
  slices_[1].push_back(second);
}

void Comparison::AddTo(const std::string& what, const std::string& first, const std::string& second,
                       std::vector<Row>* rows) const {
  const std::pair<const char*, double Slice::*> figures[] = {
      {"per second", &Slice::per_second}, {"p50 us", &Slice::p50_us}, {"p99 us", &Slice::p99_us}};
  for (int k = 0; k < 2; ++k) {
    Row row{what, k == 0 ? first : second, {}};
    for (const auto& [name, figure] : figures) {
      std::vector<double> values;
      for (const Slice& slice : slices_[k]) values.push_back(slice.*figure);
      row.values.emplace_back(name, Median(values));
    }
    for (const auto& [name, figure] : figures) {
      std::vector<double> ratios;
      for (size_t i = 0; k == 0 && i < slices_[0].size(); ++i) {
        ratios.push_back(slices_[0][i].*figure / (slices_[1][i].*figure));
      }
      row.values.emplace_back(std::string(name, std::string(name).find(' ')) + " ratio",
                              Median(ratios));
    }
    rows->push_back(std::move(row));
  }
}

}  // namespace lazynorm
