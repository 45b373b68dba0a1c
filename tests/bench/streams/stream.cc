#include "tests/bench/streams/stream.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <set>

#include "client/cli/csv.h"
#include "client/cli/features.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

int CountClasses(const std::vector<float>& y) {
  constexpr size_t kMost = 20;
  std::set<float> kinds;
  for (const float value : y) {
    kinds.insert(value);
    if (kinds.size() > kMost) return 0;
  }
  float next = 0;
  for (const float value : kinds) {
    if (value != next++) return 0;
  }
  return kinds.size() < 2 ? 0 : static_cast<int>(kinds.size());
}

}  // namespace

absl::StatusOr<Stream> ReadStream(const std::string& path) {
  ASSIGN_OR_RETURN(CsvReader table, CsvReader::Open(path));
  const size_t columns = table.header().size() - 1;
  std::vector<float> features;
  Stream stream{.name = std::filesystem::path(path).stem()};
  CsvRow row;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, table.Next(&row));
    if (!more) break;
    for (size_t i = 0; i < columns; ++i) {
      ASSIGN_OR_RETURN(const float value, ParseNumber(table, row, i));
      features.push_back(value);
    }
    ASSIGN_OR_RETURN(const float target, ParseNumber(table, row, columns));
    stream.y.push_back(target);
  }
  stream.x = ToEigen(ConstMatrixView(features.data(), stream.y.size(), columns));
  stream.classes = CountClasses(stream.y);
  return stream;
}

Stream Shuffled(const Stream& stream, uint64_t seed) {
  std::vector<int64_t> order(stream.rows());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  Stream result = stream;
  for (int64_t i = 0; i < stream.rows(); ++i) {
    result.x.row(i) = stream.x.row(order[i]);
    result.y[i] = stream.y[order[i]];
  }
  return result;
}

}  // namespace lazynorm
