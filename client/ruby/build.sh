#!/bin/sh
# Puts the library and its generated stubs into DIR/lib: build.sh [DIR].
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/clients/ruby}
rm -rf "$out/lib" && mkdir -p "$out"
cp -R "$here/lib" "$out/lib"
out=$(cd "$out" && pwd)
cd "$here/../../proto"
protoc --ruby_out="$out/lib" --grpc_out="$out/lib" \
  --plugin=protoc-gen-grpc="$(command -v grpc_ruby_plugin)" lazynorm/v1/*.proto
