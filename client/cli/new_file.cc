#include "client/cli/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/errors.h"

namespace lazynorm {

NewFile::NewFile(std::string path)
    : path_(std::move(path)),
      partial_(path_ + ".partial"),
      fd_(open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)),
      error_(fd_ < 0 ? errno : 0) {}

NewFile::~NewFile() {
  if (fd_ >= 0) close(fd_);
  if (!kept_) unlink(partial_.c_str());
}

bool NewFile::Write(absl::string_view data) {
  while (error_ == 0 && !data.empty()) {
    const ssize_t written = write(fd_, data.data(), data.size());
    if (written < 0) error_ = errno;
    if (written > 0) data.remove_prefix(written);
  }
  return error_ == 0;
}

absl::Status NewFile::Keep() {
  if (error_ == 0 && fsync(fd_) != 0) error_ = errno;
  if (error_ == 0 && rename(partial_.c_str(), path_.c_str()) != 0) error_ = errno;
  kept_ = error_ == 0;
  return status();
}

absl::Status NewFile::status() const {
  if (error_ == 0) return absl::OkStatus();
  return InputError(absl::StrCat(path_, ": ", strerror(error_)));
}

}  // namespace lazynorm
