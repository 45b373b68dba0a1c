#ifndef LAZYNORM_CLIENT_CLI_FORMAT_H_
#define LAZYNORM_CLIENT_CLI_FORMAT_H_

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/cli/csv.h"
#include "google/protobuf/message.h"

namespace lazynorm {

enum class Format { kTable, kJson, kCsv };

// A JSON object with its keys in the order they were added. Thread-compatible.
class JsonObject {
 public:
  JsonObject& Text(absl::string_view key, absl::string_view value);
  // What JSON cannot write as a number (NaN, infinity) becomes null.
  JsonObject& Number(absl::string_view key, double value);
  JsonObject& Integer(absl::string_view key, int64_t value);
  JsonObject& Objects(absl::string_view key, const std::vector<JsonObject>& values);
  std::string ToString() const;

 private:
  JsonObject& Add(absl::string_view key, absl::string_view json);
  std::string members_;
};

// A JSON string with its quotes. Bytes that are not UTF-8 pass as they are.
std::string JsonQuote(absl::string_view text);

// `message` as protobuf's JSON under the names of the .proto files, on one line or indented.
std::string ToJson(const google::protobuf::Message& message, bool indented);

// At most six digits that mean something; "nan" for NaN.
std::string FormatNumber(double value);
// As many digits as it takes to read the same float again.
std::string FormatFloat(float value);

// Writes rows as they come: a table with columns wide enough for the header and `width`, CSV, or
// one JSON object a line in which what looks like a number is one. Thread-compatible.
class RowWriter {
 public:
  // `out` must outlive it.
  RowWriter(std::ostream* out, Format format, std::vector<std::string> columns, size_t width = 10);
  void Write(const CsvRow& row);

 private:
  void WriteTableLine(const CsvRow& row);
  void WriteJsonLine(const CsvRow& row);

  std::ostream* const out_;
  const Format format_;
  const std::vector<std::string> columns_;
  const size_t width_;
};

// Writes a whole table at once, columns as wide as their widest cell.
void WriteTable(const std::vector<std::string>& columns, const std::vector<CsvRow>& rows,
                Format format, std::ostream* out);

// "name  value" lines, the values aligned.
void WritePairs(const std::vector<std::pair<std::string, std::string>>& pairs, std::ostream* out);

// One block character for each value, from the lowest to the highest; values are averaged down to
// at most `width` of them. Those that are not finite become spaces.
std::string Sparkline(const std::vector<double>& values, size_t width);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_FORMAT_H_
