#!/bin/sh
# Installs the package into a virtual environment that sees Debian's grpc and numpy: build.sh [DIR].
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/clients/python}
[ -x "$out/bin/pip" ] || /usr/bin/python3 -m venv --system-site-packages "$out"
# setuptools leaves folders beside the sources that it builds: they are copies.
copy=$out/source/client/python
rm -rf "$out/source" && mkdir -p "$copy"
cp -R "$here/../../proto" "$out/source/proto"
cp -R "$here/pyproject.toml" "$here/setup.py" "$here/README.md" "$here/src" "$copy/"
"$out/bin/pip" install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
  --force-reinstall "$copy"
