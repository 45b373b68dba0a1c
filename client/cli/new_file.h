#ifndef LAZYNORM_CLIENT_CLI_NEW_FILE_H_
#define LAZYNORM_CLIENT_CLI_NEW_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// A file that only has its name once it is whole and on the disk. Thread-compatible.
class NewFile {
 public:
  explicit NewFile(std::string path);
  // Without Keep, nothing is left of it.
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  // False once something has failed.
  bool Write(absl::string_view data);
  // Gives it its name, in the place of whatever had it. InputError: what failed.
  absl::Status Keep();
  absl::Status status() const;

 private:
  const std::string path_, partial_;
  const int fd_;
  int error_;
  bool kept_ = false;
};

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_NEW_FILE_H_
