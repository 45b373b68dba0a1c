#!/bin/sh
# Generates the stubs and builds the acceptance program in a GOPATH of its own: build.sh [DIR].
# Debian's Go packages are found by GOPATH, not as modules; DIR/env sets what go needs for that.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/clients/go}
rm -rf "$out/src" && mkdir -p "$out/src"
out=$(cd "$out" && pwd)
cp -R "$here/lazynorm" "$here/acceptance" "$out/src/"
cd "$here/../../proto"
package=
for file in lazynorm/v1/*.proto; do
  package=$package,M$file=lazynorm/v1
done
protoc --go_out="${package#,}:$out/src" --go-grpc_out="${package#,}:$out/src" lazynorm/v1/*.proto
cat >"$out/env" <<END
export GO111MODULE=off GOFLAGS= GOPATH='$out:/usr/share/gocode' GOCACHE='$out/cache'
END
. "$out/env"
cd "$out/src"
go build -o "$out/bin/acceptance" acceptance
