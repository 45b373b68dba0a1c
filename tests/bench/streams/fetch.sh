#!/usr/bin/env bash
# Fetches public data sets into FOLDER and writes them there as streams for lazynorm_streams.
#   tests/bench/streams/fetch.sh FOLDER
# Needs apt-get, dpkg-deb, npm and python3.
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
for tool in apt-get dpkg-deb npm python3; do
  command -v "$tool" > /dev/null || { echo "fetch.sh: $tool is not installed" >&2; exit 1; }
done
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT

cd "$packages"
echo "vega-datasets, from npm" >&2
npm pack --silent vega-datasets@3.2.1 > /dev/null
tar xzf vega-datasets-*.tgz
echo "python3-sklearn, from apt" >&2
apt-get download -qq python3-sklearn 2> apt.log || { cat apt.log >&2; exit 1; }
dpkg-deb -x python3-sklearn_*.deb sklearn
python3 "$here/prepare.py" package/data sklearn/usr/lib/python3/dist-packages/sklearn/datasets/data \
  "$folder"
