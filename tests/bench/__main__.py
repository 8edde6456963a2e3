"""Run every benchmark, or those that the command line names."""

from __future__ import annotations

import subprocess
import sys

BENCHES = {
    "release": "start-up, conversion, moved bytes and a push, beside `hf`, `datasets` and `upload_folder`",
    "cards": "seven cards rendered and linted, beside the empty template of huggingface_hub",
    "space": "time to the first word, beside that of the backend alone; needs `make models`",
    "filter": "the whole rule table, beside two filters of datatrove",
    "dedup": "near duplicates of 100,000 rows, beside datatrove's MinHash",
    "translate": "what the stage costs, beside a bare client on the echo server",
    "serve": "tokens a second on vLLM, beside a bare client; needs `make env-serve`",
    "road": "filter to pack for 1,000,000 rows: minutes and memory",
}


def main() -> int:
    """Run each in a process of its own; leave with 1 when one failed."""
    failed = 0
    for name in sys.argv[1:] or BENCHES:
        print(f"\n{name}: {BENCHES[name]}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
