#!/bin/sh
# Makes the image that the Dockerfile begins with out of this machine's own apt sources, once:
# base_image.sh STORE. No registry is asked. What debian:bookworm-slim leaves out is left out here.
set -eu
store=$1
tag=localhost/debian:bookworm-slim
buildah() { command buildah --root "$store/graph" --runroot "$store/run" --storage-driver overlay "$@"; }

if buildah inspect --type image "$tag" >/dev/null 2>&1; then exit 0; fi
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
root=$store/rootfs
rm -rf "$root"
mkdir -p "$root"
trap 'rm -rf "$root"' EXIT
if ! debootstrap --variant=minbase bookworm "$root" "$mirror" >"$store/debootstrap.log" 2>&1; then
  tail -n 20 "$store/debootstrap.log" >&2
  exit 1
fi
find "$root/usr/share/doc" -type f ! -name copyright -delete
for folder in var/cache/apt var/lib/apt/lists var/log usr/share/man usr/share/locale; do
  find "$root/$folder" -mindepth 1 -delete
done
rm -f "$root/etc/apt/sources.list"
for left_out in 'exclude=/usr/share/doc/*' 'include=/usr/share/doc/*/copyright' \
  'exclude=/usr/share/man/*' 'exclude=/usr/share/locale/*'; do
  echo "path-$left_out"
done >"$root/etc/dpkg/dpkg.cfg.d/slim"

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet --rm "$container" "$tag" >/dev/null
