#!/usr/bin/env bash
# A whole release on this machine, offline: make a corpus and a model, seal them, publish them on the embedded Hub by tag,
# read them back, load the corpus as a stranger would. Run by `make demo`; run it again and nothing is done twice.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=pipeline/demo/release.yaml
# Clients keep what they download here, not among your own downloads.
export HF_HOME="$PWD/.hala/clients" HF_HUB_DISABLE_TELEMETRY=1
# Nothing of your own account or proxy is meant here.
unset HF_TOKEN HF_ENDPOINT HF_OIDC_RESOURCE HF_HUB_OFFLINE HF_TOKEN_PATH
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

if [ ! -f out/demo/corpus/manifest.json ]; then
  say "1. Make a corpus: English-Arabic strings of free software, as conversations"
  python -m pipeline.demo.corpus out/demo/raw/corpus
  # A bundle is the hand-over: every file with its digest, facts read from the files, the manifest written last.
  hala-release adopt out/demo/raw/corpus --kind dataset --out out/demo/corpus
fi
if [ ! -f out/demo/model/manifest.json ]; then
  say "2. Make a model: LFM2's architecture, small, with random weights and a tokenizer trained on the corpus"
  python -m pipeline.demo.model out/demo/raw/model --corpus out/demo/raw/corpus
  hala-release adopt out/demo/raw/model --kind model --out out/demo/model
fi

say "3. Check: what would readers trip over?"
hala-release check $release

say "4. Plan: what would a push change?"
hala-release plan $release --hub local || {
  echo "  If an earlier demo is in the way: \`.venv/bin/hala-release hub reset\`, then \`make demo\`." >&2
  exit 1
}

say "5. Push: blobs first, one commit per repository, verified, tagged last"
hala-release push $release --hub local

say "6. Verify: read back what was published"
hala-release verify $release --hub local

say "7. Load the corpus by its tag, as a stranger"
HF_ENDPOINT=$(hala-release hub url) python - <<'PYTHON'
from datasets import load_dataset

corpus = load_dataset("hala-demo/hala-demo-corpus", revision="v1.0.0")
print(corpus)
for turn in corpus["validation"][0]["conversations"]:
    print(f"{turn['from']}: {turn['value']}")
PYTHON

url=$(hala-release hub url)
say "Done. The family is on the embedded Hub:"
cat <<END
  $url/datasets/hala-demo/hala-demo-corpus
  $url/hala-demo/hala-demo-model

Load it from any Python with the libraries of your choice:
  export HF_ENDPOINT=$url HF_TOKEN=\$(.venv/bin/hala-release hub token)

  from datasets import load_dataset
  load_dataset("hala-demo/hala-demo-corpus", revision="v1.0.0")

  from transformers import AutoModelForCausalLM, AutoTokenizer   # pip install transformers torch
  AutoTokenizer.from_pretrained("hala-demo/hala-demo-model", revision="v1.0.0")
  AutoModelForCausalLM.from_pretrained("hala-demo/hala-demo-model", revision="v1.0.0")

Stop the Hub with \`.venv/bin/hala-release hub stop\`, or throw its content away with \`.venv/bin/hala-release hub reset\`.
END
