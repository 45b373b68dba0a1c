// A table for the command: rows are read as they are written, numbers are finite.
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/csv.h"
#include "client/cli/features.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {
namespace {

void CheckRoundTrip(const CsvRow& header, const CsvRow& row) {
  if (header[0].substr(0, 3) == "\xEF\xBB\xBF") return;  // a second mark would go like the first
  std::istringstream text(ToCsvLine(header) + ToCsvLine(row));
  auto again = CsvReader::FromStream(&text, "again");
  CsvRow read;
  Require(again.ok() && again->header() == header, "a header is read back");
  Require(again->Next(&read).value_or(false) && read == row, "a row is read back");
}

void Encode(const CsvReader& table, const FeatureEncoder& encoder, const CsvRow& row) {
  std::vector<float> x;
  if (!encoder.Encode(table, row, &x).ok()) return;
  Require(x.size() == encoder.names().size(), "a number for each feature");
  RequireFinite({x.data(), 1, static_cast<int64_t>(x.size())});
}

}  // namespace

FUZZ(bytes) {
  std::istringstream text{std::string(bytes)};
  auto table = CsvReader::FromStream(&text, "table");
  if (!table.ok()) return Require(!table.status().message().empty(), "an error says what it is");
  const CsvRow header = table->header();
  const auto encoder =
      FeatureEncoder::Create(*table, {.one_hot = {header.back()}, .date = header.front()},
                             {{header.back(), {"sun", "rain"}}}, v1::Model());
  Require(encoder.ok(), encoder.status().ToString());
  CsvRow row;
  while (table->Next(&row).value_or(false)) {
    CheckRoundTrip(header, row);
    Encode(*table, *encoder, row);
  }
}

}  // namespace lazynorm::fuzz
