#include "client/cli/csv.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/cli/errors.h"

namespace lazynorm {

absl::StatusOr<CsvReader> CsvReader::Open(const std::string& path) {
  if (path == "-") return FromStream(&std::cin, "stdin");
  errno = 0;
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  // A folder opens, but cannot be read.
  if (!*file || (file->peek() == EOF && file->bad())) {
    return InputError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  CsvReader reader;
  file->clear();
  file->seekg(0, std::ios::end);
  reader.size_ = file->tellg();
  file->clear();  // a pipe cannot seek
  file->seekg(0);
  file->clear();
  reader.name_ = path;
  reader.stream_ = file.get();
  reader.file_ = std::move(file);
  if (absl::Status status = reader.ReadHeader(); !status.ok()) return status;
  return reader;
}

absl::StatusOr<CsvReader> CsvReader::FromStream(std::istream* stream, absl::string_view name) {
  CsvReader reader;
  reader.stream_ = stream;
  reader.name_ = std::string(name);
  if (absl::Status status = reader.ReadHeader(); !status.ok()) return status;
  return reader;
}

absl::Status CsvReader::ReadHeader() {
  const absl::StatusOr<bool> found = ReadRecord(&header_);
  if (!found.ok()) return found.status();
  if (!*found) return InputError(absl::StrCat(name_, ": empty; expected a header line"));
  std::set<std::string> seen;
  for (const std::string& column : header_) {
    if (column.empty()) return ErrorInRow("a column of the header has no name");
    if (!seen.insert(column).second) {
      return ErrorInRow(absl::StrCat("column ", column, " appears twice in the header"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> CsvReader::Next(CsvRow* row) {
  const absl::StatusOr<bool> found = ReadRecord(row);
  if (!found.ok() || !*found) return found;
  if (row->size() != header_.size()) {
    return ErrorInRow(absl::StrCat("expected ", header_.size(), " columns, got ", row->size()));
  }
  return true;
}

double CsvReader::Progress() {
  const int64_t at = size_ > 0 ? static_cast<int64_t>(stream_->tellg()) : -1;
  if (size_ <= 0) return -1;
  return at < 0 ? 1 : static_cast<double>(at) / static_cast<double>(size_);
}

absl::Status CsvReader::ErrorInRow(absl::string_view message) const {
  return InputError(absl::StrCat(name_, ":", row_line_, ": ", message));
}

absl::Status CsvReader::ErrorAt(absl::string_view column, absl::string_view message) const {
  return ErrorInRow(absl::StrCat("column ", column, ": ", message));
}

bool CsvReader::ReadLine(std::string* line) {
  if (!std::getline(*stream_, *line)) return false;
  if (++line_ == 1 && absl::StartsWith(*line, "\xEF\xBB\xBF")) line->erase(0, 3);
  return true;
}

absl::StatusOr<bool> CsvReader::ReadRecord(CsvRow* row) {
  row->clear();
  std::string line;
  do {
    if (!ReadLine(&line)) return false;
  } while (line.empty() || line == "\r");
  row_line_ = line_;
  size_t at = 0;
  for (;;) {
    std::string cell;
    if (at < line.size() && line[at] == '"') {
      const absl::StatusOr<bool> last = ReadQuoted(&line, &at, &cell);
      if (!last.ok()) return last.status();
      row->push_back(std::move(cell));
      if (*last) return true;
      continue;
    }
    const size_t comma = line.find(',', at);
    cell = line.substr(at, comma == std::string::npos ? comma : comma - at);
    if (comma == std::string::npos && absl::EndsWith(cell, "\r")) cell.pop_back();
    row->push_back(std::move(cell));
    if (comma == std::string::npos) return true;
    at = comma + 1;
  }
}

// Reads the cell whose opening quote is at `at`, over as many lines as it takes; leaves `at` behind
// the comma. True: it was the last of its row.
absl::StatusOr<bool> CsvReader::ReadQuoted(std::string* line, size_t* at, std::string* cell) {
  for (++*at;;) {
    const size_t quote = line->find('"', *at);
    if (quote == std::string::npos) {
      absl::StrAppend(cell, line->substr(*at), "\n");
      *at = 0;
      if (!ReadLine(line)) return ErrorInRow("a quote is opened and never closed");
      continue;
    }
    absl::StrAppend(cell, line->substr(*at, quote - *at));
    *at = quote + 1;
    if (*at < line->size() && (*line)[*at] == '"') {
      cell->push_back('"');
      ++*at;
      continue;
    }
    if (*at == line->size() || line->compare(*at, std::string::npos, "\r") == 0) return true;
    if ((*line)[*at] != ',') return ErrorInRow("expected a comma after a closing quote");
    ++*at;
    return false;
  }
}

std::string ToCsvLine(const CsvRow& row) {
  if (row.size() == 1 && row[0].empty()) return "\"\"\n";  // a blank line is no row
  std::string line;
  for (size_t i = 0; i < row.size(); ++i) {
    if (i > 0) line.push_back(',');
    if (row[i].find_first_of(",\"\r\n") == std::string::npos) {
      line += row[i];
    } else {
      absl::StrAppend(&line, "\"", absl::StrReplaceAll(row[i], {{"\"", "\"\""}}), "\"");
    }
  }
  return line + "\n";
}

}  // namespace lazynorm
