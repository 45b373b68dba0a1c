#!/usr/bin/env bash
# Builds lazynorm, starts a server, and lets it learn four years of daily weather in front of your
# eyes: tomorrow's highest temperature from today's weather, a week a request, each week predicted
# before it is learned from.
set -euo pipefail
cd "$(dirname "$0")"
. deploy/packages.sh

data=deploy/data/seattle-weather.csv
columns=(--target temp_max --ahead 1 --date date --one-hot weather)
work=$(mktemp -d)
server=""
stop_server() {
  # It still writes below $work until it has ended.
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
  rm -rf "$work"
}
trap stop_server EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Shows a command, then runs it.
show() {
  printf '\n$ %s\n' "${*/#build\/bin\//}"
  "$@"
}

install_missing $build_packages
say "Building lazynorm (a few minutes the first time)"
build release -- lazynormd lazynorm

say "Starting a server on a free port of this machine"
build/bin/lazynormd --listen=127.0.0.1:0 --metrics_listen=127.0.0.1:0 \
  --data_dir="$work/data" --drain_seconds=0s 2>"$work/log" &
server=$!
for _ in $(seq 600); do
  grep -q event=serving "$work/log" && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2 && fail "the server did not start"; }
  sleep 0.1
done
tail -n 1 "$work/log"
export LAZYNORM_SERVER=127.0.0.1:$(sed -n 's/.* ports=\([0-9]*\).*/\1/p' "$work/log")
metrics=127.0.0.1:$(sed -n 's/.* metrics_port=\([0-9]*\).*/\1/p' "$work/log")

say "Learning Seattle, 2012 to 2015: predict the week, then learn from it"
show build/bin/lazynorm train weather "$data" "${columns[@]}" --create --batch 7 \
  --shadow-baseline persistence --report-every 91 --skip-first 0.25 | tee "$work/stream"

say "The same rows, learned as PyTorch would"
show build/bin/lazynorm train weather-torch "$data" "${columns[@]}" --create --batch 7 --preset torch \
  --hidden 32,16 --normalize-input --lr 0.01 --shadow-baseline persistence --skip-first 0.25 |
  tee "$work/torch"

figure() { printf '  %-52s %6.2f\n' "$1" "$(awk -v name="$3" '$1 == name && NF == 2 { print $2 }' "$work/$2")"; }
say "Side by side: root mean squared error in degrees, after the first quarter"
figure "lazynorm, as it comes (--preset stream)" stream model
figure "tomorrow will be as today" stream persistence
figure "PyTorch's batch norm, the same network" torch model
cat <<'TEXT'

Batch norm assumes a batch that looks like the data. A week does not look like four years: that is why
PyTorch's layer, followed to the letter, loses on a stream. The preset normalises with running
statistics, replays past rows, and weighs four learners by how well each has predicted lately.
TEXT

say "How well does it know the four years now?"
show build/bin/lazynorm evaluate weather "$data" "${columns[@]}"

say "Freeze the running statistics and learn the same rows once more"
show build/bin/lazynorm freeze weather
show build/bin/lazynorm train weather "$data" "${columns[@]}" --batch 7 --shadow-baseline persistence

say "Predict tomorrow from the last five days"
{ head -n 1 "$data" && tail -n 5 "$data"; } >"$work/latest.csv"
show build/bin/lazynorm predict weather "$work/latest.csv" --date date --one-hot weather --append

say "What Prometheus sees"
exec 3<>"/dev/tcp/${metrics%:*}/${metrics#*:}"
printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
grep -E '^(lazynorm_(model_step|rows_trained_total|rows_predicted_total|train_loss|prequential_loss|gradient_norm|statistics_frozen|batch_norm_shift|step_seconds_(sum|count))[ {]|grpc_server_handled_total.*(Train|Predict)"?.*[1-9][0-9]*$)' <&3 | grep -v ' 0$'

say "Done"
