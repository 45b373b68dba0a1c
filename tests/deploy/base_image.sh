#!/bin/sh
# Makes the image that the Dockerfile begins with out of this machine's own apt sources, once:
# base_image.sh STORE. No registry is asked. What debian:bookworm-slim leaves out is left out here.
set -eu
store=$1
tag=localhost/debian:bookworm-slim
buildah() { command buildah --root "$store/graph" --runroot "$store/run" --storage-driver overlay "$@"; }

if buildah inspect --type image "$tag" >/dev/null 2>&1; then exit 0; fi
mirror() {
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1
}
[ -n "$(mirror)" ] || apt-get -o Acquire::Retries=5 update >/dev/null
root=$store/rootfs
# One that was interrupted leaves its /proc and /sys mounted there.
clear_root() {
  for mounted in $(awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r); do
    umount "$mounted"
  done
  rm -rf --one-file-system "$root"
}
make_root() {
  clear_root
  mkdir -p "$root"
  debootstrap --variant=minbase bookworm "$root" "$(mirror)" >"$store/debootstrap.log" 2>&1
}
trap clear_root EXIT
# One file that does not come ends debootstrap.
if ! { make_root || { sleep 10 && make_root; } || { sleep 30 && make_root; }; }; then
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
