#!/usr/bin/env bash
# From English instructions to a sealed Arabic corpus, top to bottom; run it again and it goes on where it stopped.
#   pipeline/runs/corpus.sh                                    HALA's sources, HALA's translator on vLLM
#   pipeline/runs/corpus.sh --rows 1000                        the first 1,000 rows of every source
#   pipeline/runs/corpus.sh --models echo --rows 200 FILE…     a rehearsal in a minute, on files of your own, without a model
#   pipeline/runs/corpus.sh --models demo --rows 50 FILE…      the same with two small real models on this machine
# FILE is JSON lines with instruction, input and output, as in pipeline/configs/ingest/local_alpaca.yaml.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/.venv/bin:$PATH"

rows=null models=hala files=() out=out/corpus
while [ $# -gt 0 ]; do
  case $1 in
    --rows) rows=$2; shift 2 ;;
    --models) models=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    -h | --help) sed -n '2,7s/^# *//p' "$0"; exit ;;
    -*) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
    *) files+=("$1"); shift ;;
  esac
done
case $models in
  hala) translator=hala judge=qwen held= ;;       # the translator that HALA published; the judge that its report names
  demo) translator=gemma-demo judge=smollm-demo held=-demo ;; # two families that install as packages and run on a CPU
  echo) translator=echo judge=echo held=-demo ;;       # no model: every stage, cache and report as in a real run
  *) echo "error: --models is hala, demo or echo, not $models" >&2; exit 2 ;;
esac

configs=pipeline/configs
run() { python -m pipeline "$@" --out "$out"; } # prints where the result lies; finds it there the next time
say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }

say "1. Read the sources: one schema, a stable id for every row, what is no conversation set aside with its reason"
sources=()
if [ ${#files[@]} -gt 0 ]; then
  for file in "${files[@]}"; do
    name=$(basename "$file" | sed 's/\..*//; s/[^a-z0-9]\+/-/g')
    sources+=(--from "$(run ingest $configs/ingest/local_alpaca.yaml --set "local.paths=[$file]" --set "local.name=$name" --set "rows=$rows")")
  done
else
  for source in open_orca hermes_3 scp_116k realign_alpaca lamini tulu_3 synthetic_instruct; do
    sources+=(--from "$(run ingest $configs/ingest/$source.yaml --set "rows=$rows")")
  done
fi

say "2. Take out what the English originals of the benchmarks hold, before anything is spent on it"
clean=$(run decontaminate $configs/decontaminate/source$held.yaml "${sources[@]}")

say "3. Translate both sides; code, formulas and addresses stay; every answer is kept, so nothing is asked twice"
translated=$(run translate $configs/translate/$translator.yaml --from "$clean")

say "4. Let a model of another family judge every translation"
judged=$(run judge $configs/judge/$judge.yaml --from "$translated")

say "5. Repair, flag and drop by the rule table; what is dropped stays beside, with rule and reason"
filtered=$(run filter $configs/filter/default.yaml --from "$judged")

say "6. Drop exact, prompt-only and near duplicates; the row that stays knows for how many it stands"
unique=$(run dedup $configs/dedup/default.yaml --from "$filtered")

say "7. Take out what the Arabic benchmarks hold"
fair=$(run decontaminate $configs/decontaminate/target$held.yaml --from "$unique")

say "8. Pack: the released schema, splits, shards in stable order, all reports beside them"
packed=$(run pack $configs/pack/chat.yaml --from "$fair")

say "Done. Publish it with a release.yaml that names this bundle:"
echo "$packed"
