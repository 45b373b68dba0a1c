#include "client/cli/session.h"

int main(int argc, char** argv) {
  return lazynorm::RunCli(argc, argv);
}
