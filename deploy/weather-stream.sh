#!/bin/sh
# Feeds a server ($LAZYNORM_SERVER) a table of daily weather, some days a second, for ever, and asks it
# for predictions all the while: weather-stream.sh FILE
set -eu
file=$1

days() {
  head -n 1 "$file"
  while :; do
    tail -n +2 "$file" | while read -r day; do
      echo "$day"
      sleep 0.05
    done
  done
}

days | lazynorm train weather - --create --target temp_max --ahead 1 --date date --ignore weather --batch 7 &
train=$!
trap 'kill $train' EXIT
trap 'exit 0' TERM INT
while kill -0 $train 2>/dev/null; do
  sleep 0.5
  { head -n 1 "$file" && tail -n 7 "$file"; } |
    lazynorm predict weather - --date date --ignore weather --batch 1 >/dev/null || sleep 1
done
