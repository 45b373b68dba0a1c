#ifndef LAZYNORM_TESTS_FAULT_FAULT_VFS_H_
#define LAZYNORM_TESTS_FAULT_FAULT_VFS_H_

#include <cstdint>
#include <random>

namespace lazynorm {

// A disk under SQLite that remembers what was not synced, and fails when it is told to. It stands
// in for the operating system's calls in this process, from Install on; a store that is closed
// after Fail has written nothing since, as if its process had been killed.
//
// One test at a time; any thread of the store.
class FaultVfs {
 public:
  enum class Fault {
    kNone,
    kPowerCut,    // from then on every operation fails and nothing reaches the disk
    kEio,         // the operation fails, once; a failed sync loses what it should have kept
    kEioForGood,  // from then on every write and sync fails
    kNoSpace,     // writes fail until Mend
  };
  enum class Cut {
    kAllUnsynced,   // what was not synced is gone
    kSomeUnsynced,  // of each write some sectors of 512 bytes have arrived
    kNothing,       // a killed process: the operating system has it all
  };

  // SQLite's default from now on.
  static void Install();
  // Forgets all files; no fault.
  static void Reset();
  // The fault comes with the `operation`-th operation from now, from 1: a write, sync or
  // truncation.
  static void Arm(Fault fault, int64_t operation);
  // No fault from now on.
  static void Mend();
  // How many operations there have been since Reset or Arm.
  static int64_t operations();
  // Whether the fault has come.
  static bool fired();
  // Rewrites all files as a power cut leaves them. Nobody may have them open.
  static void CutPower(Cut cut, std::mt19937_64& random);
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_FAULT_FAULT_VFS_H_
