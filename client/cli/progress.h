#ifndef LAZYNORM_CLIENT_CLI_PROGRESS_H_
#define LAZYNORM_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/time/time.h"

namespace lazynorm {

// Where a long run tells how far it is: a bar that is drawn anew on a terminal, now and then a line
// elsewhere. Thread-compatible.
class Progress {
 public:
  // `out` must outlive it; `terminal` says whether it is one.
  Progress(std::ostream* out, bool terminal);

  // `share` of the work done, in [0, 1], negative where it is not known. Draws if it is time.
  void Update(double share, int64_t rows, double loss);
  // Takes the bar off the screen, so that something else can be written.
  void Clear();

  absl::Duration elapsed() const;

 private:
  std::ostream* const out_;
  const bool terminal_;
  const absl::Time begin_;
  absl::Time next_;
  bool drawn_ = false;
};

// "[=====>    ] 51 %  1234 rows  5678 rows/s  prequential loss 0.123"; without the bar if `share`
// is negative.
std::string ProgressLine(double share, int64_t rows, double rows_per_second, double loss);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_PROGRESS_H_
