#include "tests/fault/fault_vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace lazynorm {
namespace {

using Fault = FaultVfs::Fault;

// A write or truncation that no sync has covered yet.
struct Change {
  int64_t offset = 0;
  std::string data;
  bool truncation = false;  // to `offset`
};

struct File {
  std::string path;
  std::string durable;  // what the disk surely has
  std::vector<Change> unsynced;
};

struct Disk {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<File>> files;
  Fault fault = Fault::kNone;
  int64_t at = 0, operations = 0;
  bool fired = false;
};

Disk& disk() {
  static auto* const the_disk = new Disk;
  return *the_disk;
}

sqlite3_vfs* base() {
  static sqlite3_vfs* const vfs = sqlite3_vfs_find("unix");
  return vfs;
}

struct OpenFile {
  sqlite3_file file;
  std::shared_ptr<File>* state;  // null for files that are not the database's
  sqlite3_file* real;
};

OpenFile* Of(sqlite3_file* file) {
  return reinterpret_cast<OpenFile*>(file);
}
sqlite3_file* Real(sqlite3_file* file) {
  return Of(file)->real;
}

enum class Operation { kWrite, kSync };

// SQLITE_OK, or what the operation answers. With the disk's mutex.
int Meet(Operation operation) {
  Disk& d = disk();
  ++d.operations;
  if (d.fault == Fault::kNone) return SQLITE_OK;
  const bool now = d.operations == d.at, later = d.fired;
  if (now) d.fired = true;
  switch (d.fault) {
    case Fault::kNone:
      return SQLITE_OK;
    case Fault::kEio:
      if (!now) return SQLITE_OK;
      break;
    case Fault::kPowerCut:
    case Fault::kEioForGood:
      if (!now && !later) return SQLITE_OK;
      break;
    case Fault::kNoSpace:
      if ((!now && !later) || operation == Operation::kSync) return SQLITE_OK;
      errno = ENOSPC;
      return SQLITE_FULL;
  }
  errno = EIO;
  return operation == Operation::kSync ? SQLITE_IOERR_FSYNC : SQLITE_IOERR_WRITE;
}

bool Dead() {
  Disk& d = disk();
  return d.fault == Fault::kPowerCut && d.fired;
}

void Apply(const Change& change, std::string* bytes) {
  if (change.truncation) {
    bytes->resize(change.offset);
    return;
  }
  const size_t end = change.offset + change.data.size();
  if (bytes->size() < end) bytes->resize(end);
  bytes->replace(change.offset, change.data.size(), change.data);
}

int Close(sqlite3_file* file) {
  delete Of(file)->state;
  return Real(file)->pMethods == nullptr ? SQLITE_OK : Real(file)->pMethods->xClose(Real(file));
}

int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 offset) {
  return Real(file)->pMethods->xRead(Real(file), to, size, offset);
}

int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset) {
  if (Of(file)->state != nullptr) {
    const std::lock_guard<std::mutex> lock(disk().mutex);
    const int met = Meet(Operation::kWrite);
    if (met != SQLITE_OK) return met;
    (*Of(file)->state)
        ->unsynced.push_back({offset, std::string(static_cast<const char*>(from), size), false});
  }
  return Real(file)->pMethods->xWrite(Real(file), from, size, offset);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (Of(file)->state != nullptr) {
    const std::lock_guard<std::mutex> lock(disk().mutex);
    const int met = Meet(Operation::kWrite);
    if (met != SQLITE_OK) return met;
    (*Of(file)->state)->unsynced.push_back({size, "", true});
  }
  return Real(file)->pMethods->xTruncate(Real(file), size);
}

int Sync(sqlite3_file* file, int /*flags*/) {
  if (Of(file)->state == nullptr) return SQLITE_OK;
  const std::lock_guard<std::mutex> lock(disk().mutex);
  File& state = **Of(file)->state;
  const int met = Meet(Operation::kSync);
  if (met == SQLITE_OK) {
    for (const Change& change : state.unsynced) Apply(change, &state.durable);
  }
  // After a failed sync the kernel calls the pages clean: the next sync does not write them.
  if (met == SQLITE_OK || !Dead()) state.unsynced.clear();
  return met;
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Real(file)->pMethods->xFileSize(Real(file), size);
}
int Lock(sqlite3_file* file, int level) {
  return Real(file)->pMethods->xLock(Real(file), level);
}
int Unlock(sqlite3_file* file, int level) {
  return Real(file)->pMethods->xUnlock(Real(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* result) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), result);
}
int FileControl(sqlite3_file* file, int op, void* argument) {
  return Real(file)->pMethods->xFileControl(Real(file), op, argument);
}
int SectorSize(sqlite3_file* file) {
  return Real(file)->pMethods->xSectorSize(Real(file));
}
// Nothing may be taken for granted of this disk.
int Characteristics(sqlite3_file*) {
  return 0;
}
int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** at) {
  return Real(file)->pMethods->xShmMap(Real(file), page, size, extend, at);
}
int ShmLock(sqlite3_file* file, int offset, int n, int flags) {
  return Real(file)->pMethods->xShmLock(Real(file), offset, n, flags);
}
void ShmBarrier(sqlite3_file* file) {
  Real(file)->pMethods->xShmBarrier(Real(file));
}
int ShmUnmap(sqlite3_file* file, int remove) {
  return Real(file)->pMethods->xShmUnmap(Real(file), remove);
}

const sqlite3_io_methods kMethods = {2,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Unlock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     Characteristics,
                                     ShmMap,
                                     ShmLock,
                                     ShmBarrier,
                                     ShmUnmap,
                                     nullptr,
                                     nullptr};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int Open(sqlite3_vfs*, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  OpenFile* opened = Of(file);
  *opened = {};
  opened->real = reinterpret_cast<sqlite3_file*>(opened + 1);
  const int code = base()->xOpen(base(), path, opened->real, flags, out_flags);
  if (opened->real->pMethods == nullptr) return code;
  file->pMethods = &kMethods;
  if (path == nullptr || (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0) return code;
  const std::lock_guard<std::mutex> lock(disk().mutex);
  std::shared_ptr<File>& state = disk().files[path];
  if (state == nullptr) state = std::make_shared<File>(File{path, ReadFile(path), {}});
  opened->state = new std::shared_ptr<File>(state);
  return code;
}

int Delete(sqlite3_vfs*, const char* path, int sync) {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  if (Dead()) return SQLITE_IOERR_DELETE;
  disk().files.erase(path);
  return base()->xDelete(base(), path, sync);
}

// The file after a power cut.
std::string Left(const File& file, FaultVfs::Cut cut, std::mt19937_64& random) {
  constexpr size_t kSector = 512;
  std::string bytes = file.durable;
  if (cut == FaultVfs::Cut::kAllUnsynced) return bytes;
  for (const Change& change : file.unsynced) {
    if (change.truncation) {
      if (random() % 2 == 0) Apply(change, &bytes);
      continue;
    }
    for (size_t at = 0; at < change.data.size(); at += kSector) {
      if (random() % 2 == 0) continue;
      Apply({change.offset + static_cast<int64_t>(at), change.data.substr(at, kSector), false},
            &bytes);
    }
  }
  return bytes;
}

}  // namespace

void FaultVfs::Install() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs made = *base();
    made.zName = "fault";
    made.szOsFile = static_cast<int>(sizeof(OpenFile)) + base()->szOsFile;
    made.xOpen = Open;
    made.xDelete = Delete;
    return made;
  }();
  sqlite3_vfs_register(&vfs, 1);
}

void FaultVfs::Reset() {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  disk().files.clear();
  disk().fault = Fault::kNone;
  disk().operations = 0;
  disk().fired = false;
}

void FaultVfs::Arm(Fault fault, int64_t operation) {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  disk().fault = fault;
  disk().at = operation;
  disk().operations = 0;
  disk().fired = false;
}

void FaultVfs::Mend() {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  disk().fault = Fault::kNone;
}

int64_t FaultVfs::operations() {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  return disk().operations;
}

bool FaultVfs::fired() {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  return disk().fired;
}

void FaultVfs::CutPower(Cut cut, std::mt19937_64& random) {
  const std::lock_guard<std::mutex> lock(disk().mutex);
  for (const auto& [path, file] : disk().files) {
    if (cut != Cut::kNothing && std::filesystem::exists(path)) {
      const std::string left = Left(*file, cut, random);
      std::ofstream(path, std::ios::binary) << left;
    }
    std::filesystem::remove(path + "-shm");
  }
  disk().files.clear();
  disk().fault = Fault::kNone;
}

}  // namespace lazynorm
