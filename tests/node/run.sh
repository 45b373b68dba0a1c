#!/bin/sh
# Runs the tests of this folder against built programs: run.sh BUILD_DIR. The packages are installed
# below BUILD_DIR, once; the source tree stays clean.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
for program in node npm; do
  if ! command -v "$program" >/dev/null 2>&1; then
    echo "error: $program is not installed, and these tests are written for it: apt-get install nodejs npm" >&2
    exit 1
  fi
done
work=$build/node
mkdir -p "$work"
cp "$here"/package.json "$here"/*.js "$work"/
if ! cmp -s "$here/package-lock.json" "$work/installed-lock.json" || ! [ -d "$work/node_modules" ]; then
  cp "$here/package-lock.json" "$work/"
  (cd "$work" && npm ci --ignore-scripts --prefer-offline --no-audit --no-fund --fetch-retries=5)
  cp "$here/package-lock.json" "$work/installed-lock.json"
fi
cd "$work"
LAZYNORM_BIN=$build/bin LAZYNORM_PROTO=$here/../../proto BUF_CACHE_DIR=$work/cache \
  exec node --test ./*.test.js
