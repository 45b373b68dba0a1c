#include "client/cli/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/cli/format.h"

namespace lazynorm {
namespace {

constexpr absl::Duration kRedraw = absl::Milliseconds(100);
constexpr absl::Duration kNextLine = absl::Seconds(2);
constexpr int kBarWidth = 30;

}  // namespace

Progress::Progress(std::ostream* out, bool terminal)
    : out_(out),
      terminal_(terminal),
      begin_(absl::Now()),
      next_(begin_ + (terminal ? kRedraw : kNextLine)) {}

void Progress::Update(double share, int64_t rows, double loss) {
  const absl::Time now = absl::Now();
  if (now < next_) return;
  next_ = now + (terminal_ ? kRedraw : kNextLine);
  const double rate = static_cast<double>(rows) / absl::ToDoubleSeconds(now - begin_);
  const std::string line = ProgressLine(share, rows, rate, loss);
  // ESC [K clears what a longer line has left.
  *out_ << (terminal_ ? absl::StrCat("\r", line, "\x1b[K") : absl::StrCat(line, "\n"))
        << std::flush;
  drawn_ = terminal_;
}

void Progress::Clear() {
  if (drawn_) *out_ << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

absl::Duration Progress::elapsed() const {
  return absl::Now() - begin_;
}

std::string ProgressLine(double share, int64_t rows, double rows_per_second, double loss) {
  std::string bar;
  if (share >= 0) {
    share = std::min(share, 1.0);
    const int done = static_cast<int>(share * kBarWidth);
    bar = absl::StrCat("[", std::string(done, '='), done < kBarWidth ? ">" : "",
                       std::string(std::max(kBarWidth - done - 1, 0), ' '), "] ",
                       absl::StrFormat("%3d", static_cast<int>(share * 100)), " %  ");
  }
  return absl::StrCat(bar, rows, " rows  ", absl::StrFormat("%.0f", rows_per_second),
                      " rows/s  prequential loss ", FormatNumber(loss));
}

}  // namespace lazynorm
