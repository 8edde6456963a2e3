#!/usr/bin/env bash
# HALA from beginning to end, at full size: 8 x H100, `make env-work env-serve DEVICE=cuda`, an account that may read the gated
# teacher (HF_TOKEN), and days. Run it again and it goes on where it stopped. Settings that HALA made public are in
# pipeline/configs, marked as such; all others are ours. It was never run at this size: `make tiny` runs the same road.
#   pipeline/runs/hala.sh [OPTIONS]
#   --rows N                  the first N rows of every source, to see it work before it is paid for
#   --sizes "350m 700m …"     which models (default: 350m 700m 1.2b 9b)
#   --set STAGE/NAME.KEY=…    instead of what a configuration says; the commits of all models are asked for this way:
#                             --set fetch/lfm2-350m.revision=COMMIT --set ingest/scp_116k.revision=COMMIT
#   --check                   read every configuration, and stop
set -euo pipefail

rows=null sizes="350m 700m 1.2b 9b" sets=() check=
while [ $# -gt 0 ]; do
  case $1 in
    --rows) rows=$2; shift 2 ;;
    --sizes) sizes=$2; shift 2 ;;
    --set) sets+=("$2"); shift 2 ;;
    --check) check=yes; shift ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
done
declare -A base=([350m]=lfm2-350m [700m]=lfm2-700m [1.2b]=lfm2-1.2b [9b]=fanar-1-9b)
for size in $sizes; do
  [ -n "${base[$size]:-}" ] || { echo "error: no size $size; there are ${!base[*]}" >&2; exit 2; }
done

cd "$(dirname "$0")/../.."
export PATH="$PWD/.venv-work/bin:$PATH"
out=out/hala
[ "$rows" = null ] || out=out/hala-$rows # a rehearsal never mixes with what is released
source pipeline/runs/steps.sh
make() { run "$@" --out "$out"; }

say "0. Read every configuration before anything is spent"
for name in command-a-translate lfm2-1.2b $(for size in $sizes; do echo "${base[$size]}"; done); do run fetch $name --check; done
run compress teacher --check
for name in open_orca opus_100 hermes_3 scp_116k realign_alpaca lamini tulu_3 synthetic_instruct; do run ingest $name --check; done
run judge qwen --check
run filter pairs --check
run dedup default --check
run pack pairs --check
for name in translator $sizes; do run train $name --check; done
run merge slerp --check
run evaluate hala --check
[ -z "$check" ] || { say "All of them can be read"; exit 0; }

say "1. The teacher: Command A Translate, compressed to FP8 so that one machine serves it"
teacher=$(make compress teacher --from "$(make fetch command-a-translate)")

say "2. Pairs: the first 405,000 rows of OpenOrca by the teacher, both sides; OPUS-100, as far as a judge accepts it"
first=$rows
[ "$rows" != null ] || first=405000
orca=$(make translate teacher --from rows="$(make ingest open_orca --set rows=$first)" --from model="$teacher")
opus=$(make judge qwen --from rows="$(make ingest opus_100 --set rows="$rows")")
clean=$(make filter pairs --from "$orca" --from "$opus")
pairs=$(make pack pairs --from "$(make dedup default --from "$clean")")
keep pairs "$pairs"

say "3. The translator: LFM2-1.2B on the pairs, full weights"
translator=$(make train translator --from base="$(make fetch lfm2-1.2b)" --from data="$pairs")
keep translator "$translator"

say "4. The corpus: seven instruction sets, translated by it"
options=(--translator "$translator" --out "$out")
[ "$rows" = null ] || options+=(--rows "$rows")
for set in "${sets[@]}"; do options+=(--set "$set"); done
corpus=$(pipeline/runs/corpus.sh "${options[@]}")
keep corpus "$corpus"

for size in $sizes; do
  say "5. The model of $size: its base tuned on the corpus, merged half-way with the base, evaluated beside it"
  parent=$(make fetch "${base[$size]}")
  tuned=$(make train "$size" --from base="$parent" --from data="$corpus")
  merged=$(make merge slerp --from tuned="$tuned" --from base="$parent")
  keep "$size" "$merged"
  keep "$size-results" "$(make evaluate hala --from "$merged")"
  keep "$size-base-results" "$(make evaluate hala --from "$parent")"
done

say "Done. Set your namespace in pipeline/runs/hala.release.yaml, then: hala-release check, plan, push"
