#ifndef LAZYNORM_SERVER_BASE_LOG_TEXT_H_
#define LAZYNORM_SERVER_BASE_LOG_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace lazynorm {

// `text` in quotes, as the value of a key of a log line, which stays one line.
inline std::string LogText(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? '\'' : c == '\n' ? ' ' : c;
  return quoted + "\"";
}

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_BASE_LOG_TEXT_H_
