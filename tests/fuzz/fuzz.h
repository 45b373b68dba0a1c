#ifndef LAZYNORM_TESTS_FUZZ_FUZZ_H_
#define LAZYNORM_TESTS_FUZZ_FUZZ_H_

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>

#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/errors.h"
#include "model/matrix.h"
#include "model/spec.h"
#include "server/convert/api.h"

namespace lazynorm::fuzz {

// What every target takes: small models, so that an input is done in about a millisecond.
inline constexpr RequestLimits kRequestLimits = {.max_rows = 32, .max_width = 32};
inline constexpr Limits kLimits = {
    .max_width = 32, .max_parameters = 4096, .max_replay_values = 4096};

// A promise of the code under test: broken, it ends the program, which tells of the input.
inline void Require(bool holds, absl::string_view promise) {
  if (holds) return;
  std::fprintf(stderr, "broken: %.*s\n", static_cast<int>(promise.size()), promise.data());
  std::abort();
}

// Whether it is; a refusal must have one of the codes for what callers send, a reason and words.
inline bool Accepted(const absl::Status& status) {
  if (status.ok()) return true;
  const bool of_caller = absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                         absl::IsAborted(status) || absl::IsDataLoss(status);
  Require(of_caller && !ReasonOf(status).empty() && !status.message().empty(), status.ToString());
  return false;
}
template <class T>
bool Accepted(const absl::StatusOr<T>& value) {
  return Accepted(value.status());
}

inline void RequireFinite(ConstMatrixView x) {
  for (int64_t i = 0; i < x.size(); ++i) Require(std::isfinite(x.data()[i]), "numbers are finite");
}

// Reads a message: text that begins with a letter, and what goes over the wire. Libraries are
// silent about what they cannot read.
template <class Message>
bool Read(absl::string_view bytes, Message* message) {
  struct Silence : google::protobuf::io::ErrorCollector {
    void AddError(int, int, const std::string&) override {}
    void AddWarning(int, int, const std::string&) override {}
  };
  static const auto no_log = google::protobuf::SetLogHandler(nullptr);
  (void)no_log;
  if (bytes.empty() || !std::isalpha(static_cast<unsigned char>(bytes[0]))) {
    return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  }
  Silence silence;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&silence);
  // Text may hold bytes that are no UTF-8, which the wire does not let through.
  return parser.ParseFromString(std::string(bytes), message) &&
         message->ParseFromString(message->SerializeAsString());
}

// Whether a step of such a model is done in no time.
inline bool IsCheap(const LearningSpec& learning) {
  int64_t updates = 0;
  for (const ExpertSpec& expert : Experts(learning)) updates += expert.updates_per_request;
  return updates <= 20;
}

}  // namespace lazynorm::fuzz

// The body of a target: FUZZ(bytes) { ... }
#define FUZZ(bytes)                                                             \
  static void LazynormFuzz(absl::string_view bytes);                            \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {     \
    LazynormFuzz(absl::string_view(reinterpret_cast<const char*>(data), size)); \
    return 0;                                                                   \
  }                                                                             \
  static void LazynormFuzz(absl::string_view bytes)

#endif  // LAZYNORM_TESTS_FUZZ_FUZZ_H_
