#include "client/cli/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/json_util.h"

namespace lazynorm {
namespace {

// Characters, not bytes: UTF-8 continuation bytes do not count.
size_t WidthOf(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

std::string Pad(absl::string_view text, size_t width, bool right) {
  const std::string space(width - std::min(width, WidthOf(text)), ' ');
  return right ? absl::StrCat(space, text) : absl::StrCat(text, space);
}

bool LooksNumeric(const std::string& cell) {
  double value = 0;
  return absl::SimpleAtod(cell, &value);
}

void TrimEnd(std::string* line) {
  line->erase(line->find_last_not_of(' ') + 1);
}

// The mean of each of `width` equal parts of `values`.
std::vector<double> Downsample(const std::vector<double>& values, size_t width) {
  if (values.size() <= width) return values;
  std::vector<double> means;
  for (size_t i = 0; i < width; ++i) {
    const size_t begin = i * values.size() / width, end = (i + 1) * values.size() / width;
    double sum = 0;
    for (size_t j = begin; j < end; ++j) sum += values[j];
    means.push_back(sum / static_cast<double>(end - begin));
  }
  return means;
}

}  // namespace

JsonObject& JsonObject::Add(absl::string_view key, absl::string_view json) {
  absl::StrAppend(&members_, members_.empty() ? "" : ", ", JsonQuote(key), ": ", json);
  return *this;
}

JsonObject& JsonObject::Text(absl::string_view key, absl::string_view value) {
  return Add(key, JsonQuote(value));
}

JsonObject& JsonObject::Number(absl::string_view key, double value) {
  if (!std::isfinite(value)) return Add(key, "null");
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  return Add(key, absl::string_view(buffer, end - buffer));
}

JsonObject& JsonObject::Integer(absl::string_view key, int64_t value) {
  return Add(key, absl::StrCat(value));
}

JsonObject& JsonObject::Objects(absl::string_view key, const std::vector<JsonObject>& values) {
  return Add(key, absl::StrCat("[",
                               absl::StrJoin(values, ", ",
                                             [](std::string* out, const JsonObject& object) {
                                               out->append(object.ToString());
                                             }),
                               "]"));
}

std::string JsonObject::ToString() const {
  return absl::StrCat("{", members_, "}");
}

std::string JsonQuote(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<int>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string ToJson(const google::protobuf::Message& message, bool indented) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indented;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only for malformed Any, Duration and Timestamp values.
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return "{}\n";
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

std::string FormatNumber(double value) {
  return absl::StrFormat("%.6g", value);
}

std::string FormatFloat(float value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  return std::string(buffer, end);
}

RowWriter::RowWriter(std::ostream* out, Format format, std::vector<std::string> columns,
                     size_t width)
    : out_(out), format_(format), columns_(std::move(columns)), width_(width) {
  if (format_ == Format::kTable) WriteTableLine(columns_);
  if (format_ == Format::kCsv) *out_ << ToCsvLine(columns_);
}

void RowWriter::Write(const CsvRow& row) {
  if (format_ == Format::kTable) WriteTableLine(row);
  if (format_ == Format::kCsv) *out_ << ToCsvLine(row);
  if (format_ == Format::kJson) WriteJsonLine(row);
}

void RowWriter::WriteTableLine(const CsvRow& row) {
  std::string line;
  for (size_t i = 0; i < row.size(); ++i) {
    const size_t width = std::max(WidthOf(columns_[i]), width_);
    absl::StrAppend(&line, i > 0 ? "  " : "", Pad(row[i], width, true));
  }
  *out_ << line << "\n";
}

void RowWriter::WriteJsonLine(const CsvRow& row) {
  JsonObject object;
  for (size_t i = 0; i < row.size(); ++i) {
    double value = 0;
    if (absl::SimpleAtod(row[i], &value)) {
      object.Number(columns_[i], value);
    } else {
      object.Text(columns_[i], row[i]);
    }
  }
  *out_ << object.ToString() << "\n";
}

void WriteTable(const std::vector<std::string>& columns, const std::vector<CsvRow>& rows,
                Format format, std::ostream* out) {
  if (format != Format::kTable) {
    RowWriter writer(out, format, columns);
    for (const CsvRow& row : rows) writer.Write(row);
    return;
  }
  std::vector<CsvRow> lines = {columns};
  lines.insert(lines.end(), rows.begin(), rows.end());
  std::vector<std::string> text(lines.size());
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t width = 0;
    for (const CsvRow& line : lines) width = std::max(width, WidthOf(line[i]));
    const bool right = std::all_of(rows.begin(), rows.end(),
                                   [i](const CsvRow& row) { return LooksNumeric(row[i]); });
    for (size_t j = 0; j < lines.size(); ++j) {
      absl::StrAppend(&text[j], i > 0 ? "  " : "", Pad(lines[j][i], width, right));
    }
  }
  for (std::string& line : text) {
    TrimEnd(&line);
    *out << line << "\n";
  }
}

void WritePairs(const std::vector<std::pair<std::string, std::string>>& pairs, std::ostream* out) {
  size_t width = 0;
  for (const auto& pair : pairs) width = std::max(width, WidthOf(pair.first));
  for (const auto& [name, value] : pairs) *out << Pad(name, width, false) << "  " << value << "\n";
}

std::string Sparkline(const std::vector<double>& values, size_t width) {
  const char* const kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::vector<double> means = Downsample(values, width);
  double low = INFINITY, high = -INFINITY;
  for (const double mean : means) {
    if (!std::isfinite(mean)) continue;
    low = std::min(low, mean);
    high = std::max(high, mean);
  }
  std::string line;
  for (const double mean : means) {
    const double height = high > low ? (mean - low) / (high - low) : 0;
    line += std::isfinite(mean) ? kBlocks[std::lround(height * 7)] : " ";
  }
  return line;
}

}  // namespace lazynorm
