#!/usr/bin/env bash
# Fuzzes every target for a while, FUZZ_JOBS (2) at a time, and prints what came of it.
#   run.sh BUILD SECONDS    SECONDS a target, after its corpus has been gone through
# New inputs that reach new code are kept in BUILD/corpus/TARGET, a crash's in BUILD/crashes. The words that
# inputs are made of come from the .proto files.
set -euo pipefail
build=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$build/crashes"
{
  cat "$here"/*.proto "$here"/../../proto/{lazynorm/v1,lazynorm/store/v1,inference}/*.proto |
    sed -nE 's/^ *([a-z_0-9. ]+ )?([A-Za-z_0-9]+) = [0-9]+( \[.*)?;.*/"\2"/p' | sort -u
  printf '"%s"\n' 0 -1 3e38 1e-45 nan inf 9223372036854775807 18446744073709551615 2147483647
} >"$build/words.dict"

fuzz() {
  local target=$1
  mkdir -p "$build/corpus/$target"
  UBSAN_OPTIONS=print_stacktrace=1 ASAN_SYMBOLIZER_PATH=/usr/bin/llvm-symbolizer-14 \
    "$build/bin/${target}_fuzz" -max_total_time="$seconds" -max_len=4096 -timeout=60 -report_slow_units=60 -rss_limit_mb=1024 \
    -print_final_stats=1 -dict="$build/words.dict" -artifact_prefix="$build/crashes/$target-" \
    "$build/corpus/$target" "$here/corpus/$target" >"$build/$target.log" 2>&1
}
export -f fuzz
export build seconds here

targets=$(basename -as _fuzz.cc "$here"/*_fuzz.cc)
for target in $targets; do rm -f "$build/crashes/$target"-*; done
echo "$targets" | xargs -P "${FUZZ_JOBS:-2}" -I{} bash -c 'fuzz {} || true'

printf '%-16s %12s %9s %8s\n' target executions coverage crashes
failed=0
for target in $targets; do
  log=$build/$target.log
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  crashes=$(find "$build/crashes" -name "$target-*" | wc -l)
  printf '%-16s %12s %9s %8s\n' "$target" "${runs:--}" "${coverage:--}" "$crashes"
  [ -n "$runs" ] && [ "$crashes" = 0 ] || failed=1
done
[ "$failed" = 0 ] || echo "see $build/TARGET.log and $build/crashes" >&2
exit "$failed"
