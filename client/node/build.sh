#!/bin/sh
# Builds the package in DIR, with the .proto files that it loads at run time: build.sh [DIR]. Its
# dependencies are installed there, once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/clients/node}
rm -rf "$out/src" "$out/proto" "$out/dist" && mkdir -p "$out"
cp -R "$here/src" "$here/package.json" "$here/tsconfig.json" "$here/../../proto" "$out/"
cd "$out"
if ! cmp -s "$here/package-lock.json" installed-lock.json || ! [ -d node_modules ]; then
  rm -f installed-lock.json  # from here on it is none of a whole install
  cp "$here/package-lock.json" .
  npm ci --ignore-scripts --prefer-offline --no-audit --no-fund --fetch-retries=6
  cp package-lock.json installed-lock.json
fi
npm run --silent build
