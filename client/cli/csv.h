#ifndef LAZYNORM_CLIENT_CLI_CSV_H_
#define LAZYNORM_CLIENT_CLI_CSV_H_

#include <cstdint>
#include <fstream>
#include <istream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

using CsvRow = std::vector<std::string>;

// Reads comma-separated values (RFC 4180) row by row, in constant memory. The first row is the
// header. Lines may end in LF or CRLF; blank lines are skipped, a byte order mark too.
// Errors are InputErrors that begin with "file:line: ". Thread-compatible.
class CsvReader {
 public:
  // `path`: a file, or "-" for the standard input.
  static absl::StatusOr<CsvReader> Open(const std::string& path);
  // Reads from `stream`, which must outlive the reader; `name` stands in messages.
  static absl::StatusOr<CsvReader> FromStream(std::istream* stream, absl::string_view name);

  const CsvRow& header() const { return header_; }
  // The file's name, "stdin" for the standard input.
  const std::string& name() const { return name_; }

  // False at the end. A row always has as many cells as the header.
  absl::StatusOr<bool> Next(CsvRow* row);

  // The line on which the latest row began, from 1.
  int64_t line() const { return row_line_; }
  // The share of the file read so far, in [0, 1]; negative where the size is not known.
  double Progress();

  // An InputError "file:LINE: column COLUMN: message" about the latest row.
  absl::Status ErrorAt(absl::string_view column, absl::string_view message) const;

 private:
  CsvReader() = default;

  absl::Status ReadHeader();
  absl::StatusOr<bool> ReadRecord(CsvRow* row);
  bool ReadLine(std::string* line);
  absl::StatusOr<bool> ReadQuoted(std::string* line, size_t* at, std::string* cell);
  absl::Status ErrorInRow(absl::string_view message) const;

  std::unique_ptr<std::ifstream> file_;  // unless the stream is someone else's
  std::istream* stream_ = nullptr;
  std::string name_;
  int64_t size_ = -1;  // bytes, if known
  CsvRow header_;
  int64_t line_ = 0;
  int64_t row_line_ = 0;
};

// `row` as one line of CSV with its end; cells are quoted where they must be.
std::string ToCsvLine(const CsvRow& row);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_CSV_H_
