// A library to preload into lazynormd: a disk that fails and a clock that jumps, when told to.
//   LAZYNORM_BAD_DISK   a folder; what is written below it fails as the file FOLDER.fault says, an
//                       errno's name, for as long as that file exists: ENOSPC EDQUOT fail writes,
//                       FSYNC fails syncs alone, EIO EROFS both; SHORT and EINTR are what a program
//                       must expect of any disk, every other time.
//   LAZYNORM_SLOW_SYNC  for how many microseconds more each sync is not over.
//   LAZYNORM_BAD_CLOCK  a file of eight bytes: how many seconds the wall clock is off.
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

template <class Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// The fault that a file below the bad disk meets now; "" for none.
std::string FaultOf(int fd) {
  static const char* const folder = getenv("LAZYNORM_BAD_DISK");
  if (folder == nullptr) return "";
  static const std::string fault_file = std::string(folder) + ".fault";
  const int file = open(fault_file.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";
  char word[16] = {};
  const ssize_t size = read(file, word, sizeof(word) - 1);
  close(file);
  char path[PATH_MAX] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (size <= 0 || readlink(link.c_str(), path, sizeof(path) - 1) < 0) return "";
  return strncmp(path, folder, strlen(folder)) == 0 ? word : "";
}

bool EveryOtherTime() {
  static std::atomic<int> calls = 0;
  return ++calls % 2 == 0;
}

// 0, or the errno of a write (or else a sync) under that fault.
int ErrorOf(const std::string& fault, bool write) {
  if (fault == "EIO") return EIO;
  if (fault == "EROFS") return EROFS;
  if (fault == "FSYNC") return write ? 0 : EIO;
  if (fault == "ENOSPC") return write ? ENOSPC : 0;
  if (fault == "EDQUOT") return write ? EDQUOT : 0;
  if (fault == "EINTR" && write && EveryOtherTime()) return EINTR;
  return 0;
}

template <class Call>
int Sync(int fd, Call call) {
  static const char* const slow = getenv("LAZYNORM_SLOW_SYNC");
  if (slow != nullptr) usleep(static_cast<useconds_t>(atoi(slow)));
  errno = ErrorOf(FaultOf(fd), false);
  return errno != 0 ? -1 : call();
}

time_t ClockOffset() {
  static const auto* const offset = [] {
    const char* const path = getenv("LAZYNORM_BAD_CLOCK");
    const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void* const at = fd < 0 ? MAP_FAILED : mmap(nullptr, 8, PROT_READ, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? nullptr : static_cast<const volatile int64_t*>(at);
  }();
  return offset == nullptr ? 0 : static_cast<time_t>(*offset);
}

}  // namespace

extern "C" {

ssize_t pwrite64(int fd, const void* from, size_t size, off64_t at) {
  static auto* const real = Real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  const std::string fault = FaultOf(fd);
  errno = ErrorOf(fault, true);
  if (errno != 0) return -1;
  return real(fd, from, fault == "SHORT" && EveryOtherTime() ? (size + 1) / 2 : size, at);
}

ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
  return pwrite64(fd, from, size, at);
}

int fsync(int fd) {
  static auto* const real = Real<int(int)>("fsync");
  return Sync(fd, [&] { return real(fd); });
}

int fdatasync(int fd) {
  static auto* const real = Real<int(int)>("fdatasync");
  return Sync(fd, [&] { return real(fd); });
}

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  static auto* const real = Real<int(clockid_t, timespec*)>("clock_gettime");
  const int result = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += ClockOffset();
  return result;
}

int gettimeofday(timeval* now, void* zone) noexcept {
  static auto* const real = Real<int(timeval*, void*)>("gettimeofday");
  const int result = real(now, zone);
  now->tv_sec += ClockOffset();
  return result;
}

}  // extern "C"
