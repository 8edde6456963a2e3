"""A stage that starts vLLM sees first that it computes what transformers does, and writes nothing where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hala_release.bundle import Bundle
from pipeline import rows
from pipeline.engines import vllm
from tests.family.conftest import complaint_of, start_pipeline
from tests.stages.echoes import bundle_of, conversation

COMPARING = "comparing lfm2 on vLLM with transformers"


def test_a_translation_is_refused_where_vllm_is_wrong_and_compared_once_where_it_is_right(
    environment: Path, lfm2: Path, tmp_path: Path
) -> None:
    if not vllm.on_cpu(vllm.vllm_version(environment)):
        pytest.skip("only the CPU build is wrong about LFM2, and mended by a plugin")
    made = bundle_of([conversation(number, f"Open file {number}.") for number in range(4)], tmp_path / "made")
    config = tmp_path / "translate.yaml"
    server = {
        "kind": "vllm",
        "model": str(lfm2),
        "environment": str(environment),
        "dtype": "float32",
        "max_model_len": 512,
    }
    given = {
        "server": server,
        "parity": {"chats": 4, "tokens": 8, "records": str(tmp_path / "parity")},
        "cache": str(tmp_path / "answers"),
        "max_tokens": {"most": 16},
        "executor": {"kind": "local", "workers": 1},
    }
    config.write_text(yaml.safe_dump(given))
    arguments = ("translate", config, "--from", made.root, "--out", tmp_path / "out")

    told = complaint_of(*arguments, "--set", "server.variables={VLLM_PLUGINS: none-of-them}")
    assert COMPARING in told
    assert "error: lfm2 on vLLM does not compute what transformers does:\n" in told
    assert not list(tmp_path.glob("out/translate/*/manifest.json"))
    assert not list(tmp_path.glob("out/translate/*/files/**/*.parquet"))
    assert not list(tmp_path.glob("answers/**/*.*")), "nothing was asked for"
    (refused,) = (tmp_path / "parity").iterdir()

    done, told = translated(*arguments)
    assert COMPARING in told
    assert list(tmp_path.glob("answers/**/*.*"))
    assert len([row for shard in rows.shards([done]) for row in rows.read_rows(shard)]) == 4
    (record,) = set((tmp_path / "parity").iterdir()) - {refused}
    assert not json.loads(record.read_bytes())["divergences"]
    before = record.stat().st_mtime_ns

    again, told = translated(*arguments, "--again")
    assert COMPARING not in told
    assert record.stat().st_mtime_ns == before
    assert [one.sha256 for one in again.manifest.files] == [one.sha256 for one in done.manifest.files]


def translated(*arguments: str | Path) -> tuple[Bundle, str]:
    """Run the stage; return its result and what it said on the way."""
    with start_pipeline(*arguments) as process:
        said, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return Bundle.open(Path(said.strip())), told
