#include <grpc/support/log.h>

#include <cstdlib>

#include "client/cli/session.h"

int main(int argc, char** argv) {
  // What went wrong is told once, in a sentence; who asks gRPC hears its own words, too.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) {
    gpr_set_log_function([](gpr_log_func_args*) {});
  }
  return lazynorm::RunCli(argc, argv);
}
