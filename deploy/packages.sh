# Sourced by demo.sh and test.sh: what they need from Debian, and how it gets there.

build_packages="g++ cmake ninja-build pkg-config ccache mold libgrpc++-dev libprotobuf-dev
  protobuf-compiler protobuf-compiler-grpc libabsl-dev libeigen3-dev prometheus-cpp-dev
  libcivetweb-dev libspdlog-dev libcli11-dev libsqlite3-dev libssl-dev libpq-dev libxxhash-dev nlohmann-json3-dev python3"
test_packages="libgtest-dev libgmock-dev python3-numpy python3-onnx prometheus"
# The clients in other languages: Python, Go, Java, Ruby; openssl makes certificates.
client_packages="python3-venv python3-setuptools python3-wheel python3-grpcio python3-protobuf python3-numpy mypy
  golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev protoc-gen-go protoc-gen-go-grpc
  openjdk-17-jdk-headless libgrpc-java libprotobuf-java libnetty-java libnetty-tcnative-java libguava-java
  libperfmark-java libgeronimo-annotation-1.3-spec-java protobuf-compiler-grpc-java-plugin
  ruby ruby-grpc
  openssl"
package_packages="dpkg-dev file"
deploy_packages="buildah podman runc catatonit netavark debootstrap docker-compose python3-yaml systemd
  groff-base curl chromium fonts-dejavu-core"
clang_packages="clang-14 libclang-rt-14-dev llvm-14"

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Installs those of the packages that are not there. Needs no network if none is missing.
install_missing() {
  local missing="" package
  command -v dpkg-query >/dev/null || fail "expected Debian 12: dpkg-query is not here. The packages needed: $*"
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  local as_root=""
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "these packages are missing and sudo asks for a password; run: sudo apt-get install -y$missing"
    as_root="sudo -n"
  fi
  echo "Installing:$missing"
  local log attempt
  log=$(mktemp)
  for attempt in 1 2 3 4 5; do
    if apt_install "$as_root" $missing </dev/null >"$log" 2>&1; then
      rm -f "$log"
      return 0
    fi
    [ "$attempt" != 5 ] || break
    echo "apt-get could not, and tries again: $(tail -n 1 "$log")" >&2
    sleep $((10 * attempt))
    # What an interrupted dpkg has left undone, nothing else is installed before.
    $as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a </dev/null >>"$log" 2>&1 || true
  done
  tail -n 5 "$log" >&2
  fail "apt-get could not install:$missing (its whole output is in $log)"
}

# One try: apt_install AS_ROOT PACKAGE... It waits for another apt-get that is at work, and asks the mirror
# again for what did not come.
apt_install() {
  local apt_get="$1 env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=5 -o DPkg::Lock::Timeout=600"
  shift
  $apt_get update && $apt_get install -y --no-install-recommends "$@"
}

# node and npm come from Debian unless some are there already.
install_node() {
  command -v node >/dev/null && command -v npm >/dev/null || install_missing nodejs npm
}

# The programs of PostgreSQL, without the database that Debian would make and start with them.
install_postgresql() {
  local no_cluster=/etc/postgresql-common/createcluster.d/no-main-cluster.conf as_root=""
  [ ! -x /usr/lib/postgresql/15/bin/postgres ] || return 0
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  $as_root mkdir -p "${no_cluster%/*}" && echo "create_main_cluster = false" | $as_root tee "$no_cluster" >/dev/null ||
    fail "expected to be able to write $no_cluster"
  install_missing postgresql-15
}

# Configures and builds a preset: build PRESET [cmake arguments] [-- targets].
build() {
  local preset=$1 arguments=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do arguments+=("$1") && shift; done
  [ $# -gt 0 ] && shift
  cmake --preset "$preset" "${arguments[@]}" >/dev/null || fail "cmake could not configure the preset $preset"
  cmake --build --preset "$preset" ${1:+--target "$@"} || fail "the build of the preset $preset failed"
}
