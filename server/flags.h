#ifndef LAZYNORM_SERVER_FLAGS_H_
#define LAZYNORM_SERVER_FLAGS_H_

#include "server/options.h"

namespace lazynorm {

// The command-line flags of lazynormd, one for each field of Options, which holds their defaults.
// To be called after absl::ParseCommandLine.
Options OptionsFromFlags();

// The file that --help shows the flags of.
inline constexpr char kFlagsFile[] = "server/flags.cc";

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_FLAGS_H_
