// The file of marks beside the database: what is damaged is told and not looked at, and the file
// serves on.
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store/marks.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {

FUZZ(bytes) {
  const int fd = memfd_create("marks", MFD_CLOEXEC);
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  Require(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "a file");
  std::vector<std::string> warnings;
  {
    const auto marks = Marks::Open(path, &warnings);
    Require(marks.ok(), marks.status().ToString());
    const size_t slots = bytes.size() / 128 + 1;
    Require((*marks)->found().size() + warnings.size() <= slots, "a mark or a warning a slot");
    (*marks)->Set(7, "seven", {.seq = 3, .step = 2, .chain = 1});
  }
  const auto again = Marks::Open(path, &warnings);
  Require((*again)->found().at(7).end.seq == 3, "a mark is read back");
  close(fd);
}

}  // namespace lazynorm::fuzz
