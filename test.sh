#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests.
#   ./test.sh                 all of it: asan, tsan, a little fuzz, release (Debian 12, 2 cores: about an hour the first time)
#   ./test.sh release         the release build in build/, every test
#   ./test.sh asan            Clang with AddressSanitizer, UBSan and its thread-safety analysis
#   ./test.sh tsan            ThreadSanitizer, the tests with threads
#   ./test.sh fuzz            every parser of outside bytes, for FUZZ_SECONDS each (150)
#   ./test.sh clang           a release build with Clang, every test
#   ./test.sh arm64           the model's library compiled for arm64
#   ./test.sh tidy            clang-tidy over our own sources, clang-format's opinion of them
set -euo pipefail
cd "$(dirname "$0")"
. deploy/packages.sh

# What is compiled here is found again in another folder, and in the image.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=locale
export CTEST_OUTPUT_ON_FAILURE=1 CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-2}

heading() { printf '\n== %s\n' "$*"; }

run_release() {
  heading "release"
  install_missing $client_packages $package_packages $deploy_packages
  build release -DLAZYNORM_TESTS=ON
  ctest --test-dir build
}

run_clang() {
  heading "clang"
  install_missing $clang_packages $client_packages
  build clang
  ctest --test-dir build/clang -E '^deploy\.'  # those are about what is shipped: the release build
}

run_asan() {
  heading "asan: Clang, AddressSanitizer, UBSan"
  install_missing $clang_packages
  build asan
  ASAN_SYMBOLIZER_PATH=/usr/bin/llvm-symbolizer-14 ctest --test-dir build/asan
}

run_tsan() {
  heading "tsan: ThreadSanitizer"
  local programs="base_tests metrics_tests store_tests hosting_tests rpc_tests server_tests model_tests"
  build tsan -- $programs
  # The golden cases have one thread and are long.
  GTEST_FILTER='-*Golden*' TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1 suppressions=$PWD/tests/tsan.suppressions" \
    ctest --test-dir build/tsan -R "^(${programs// /|})\$"
}

# Compiled, not run: what is particular to a processor is in model/ alone.
run_arm64() {
  heading "arm64: the model's library"
  install_missing g++-12-aarch64-linux-gnu
  local objects compile=(aarch64-linux-gnu-g++-12 -std=c++20 -O1 -Wall -Wno-psabi -I. -isystem /usr/include/eigen3)
  objects=$(mktemp -d)
  "${compile[@]}" -O3 -ffp-contract=fast -fno-math-errno -DLAZYNORM_LEVEL=generic \
    -c model/kernels/level.cc -o "$objects/level.o" || fail "the kernels do not compile for arm64"
  printf '%s\n' model/*.cc | xargs -P 2 -I{} "${compile[@]}" -ffp-contract=off -c {} -o /dev/null ||
    fail "the model does not compile for arm64"
  rm -r "$objects"
  echo "$(ls model/*.cc | wc -l) files and the kernels compile for arm64"
}

run_fuzz() {
  heading "fuzz: libFuzzer with AddressSanitizer and UBSan"
  install_missing $clang_packages
  build fuzz -- fuzz_targets
  tests/fuzz/run.sh build/fuzz "${FUZZ_SECONDS:-150}"
}

run_tidy() {
  heading "tidy"
  install_missing clang-tidy-14 clang-format-14 $clang_packages
  local sources
  sources=$(git ls-files 'model/*.cc' 'server/*.cc' 'client/*.cc')
  git ls-files '*.cc' '*.h' | xargs clang-format-14 --dry-run --Werror || fail "clang-format would change the above"
  build release -DLAZYNORM_TESTS=ON
  echo "$sources" | xargs -P 2 -n 4 clang-tidy-14 -p build --quiet || fail "clang-tidy found the above"
}

install_missing $build_packages $test_packages
install_postgresql
install_node
[ $# -gt 0 ] || { set -- asan tsan fuzz release && FUZZ_SECONDS=${FUZZ_SECONDS:-5}; }
for part in "$@"; do
  case "$part" in
  release | clang | asan | tsan | fuzz | arm64 | tidy) "run_$part" ;;
  *) fail "unknown part \"$part\"; one of release, clang, asan, tsan, fuzz, arm64, tidy" ;;
  esac
done
