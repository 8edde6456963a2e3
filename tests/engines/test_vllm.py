"""vLLM as a stage uses it: started, asked, stopped, and refused where it would do something else than it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from hala_release.errors import EngineMissing, HalaError
from pipeline.engines import parity, vllm
from pipeline.engines.vllm import Vllm, serving

ROOT = Path(__file__).parents[2]
HOLDER = """
import json, sys, time
from pathlib import Path
from pipeline.engines.vllm import Vllm, serving
with serving(Vllm.model_validate_json(sys.argv[1]), Path(sys.argv[2])) as endpoint:
    print(json.dumps(endpoint), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def config(environment: Path, lfm2: Path) -> Vllm:
    """The small model, computed in float32 on any device."""
    return Vllm(model=str(lfm2), environment=environment, dtype="float32", max_model_len=1024)


@pytest.fixture
def holder(config: Vllm, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves the model and has said so."""
    arguments = [sys.executable, "-c", HOLDER, config.model_dump_json(), str(tmp_path / "log")]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("["), (tmp_path / "log").read_text()[-2000:]
        yield process
        process.kill()


def test_an_environment_without_vllm_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing) as caught, serving(_nowhere(tmp_path), tmp_path / "log"):
        pass
    assert "make env-serve" in caught.value.fix


def test_a_repository_is_pinned_and_a_directory_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="needs `revision`"):
        Vllm(model="LiquidAI/LFM2-1.2B")
    with pytest.raises(ValidationError, match="has no `revision`"):
        Vllm(model=str(tmp_path), revision="a" * 40)
    assert Vllm(model="LiquidAI/LFM2-1.2B", revision="a" * 40).name == "LiquidAI/LFM2-1.2B"


def test_arguments_do_not_undo_what_the_stage_relies_on(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="--generation-config"):
        Vllm(model=str(tmp_path), arguments=("--generation-config=auto",))
    with pytest.raises(ValidationError, match="--port"):
        Vllm(model=str(tmp_path), arguments=("--port", "1"))


def test_the_digest_tells_models_templates_versions_and_types_apart_and_not_places(lfm2: Path, tmp_path: Path) -> None:
    config = Vllm(model=str(lfm2))
    seen = {vllm.digest(config, "0.32.0")}
    changed = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja")
    for name in changed:
        copy = tmp_path / name.replace(".", "-") / "lfm2"
        copy.mkdir(parents=True)
        for file in lfm2.iterdir():
            (copy / file.name).write_bytes(file.read_bytes() + (b"\n" if file.name == name else b""))
        seen.add(vllm.digest(Vllm(model=str(copy)), "0.32.0"))
    seen.add(vllm.digest(config, "0.33.0"))
    seen.add(vllm.digest(config.model_copy(update={"dtype": "float32"}), "0.32.0"))
    seen.add(vllm.digest(config.model_copy(update={"arguments": ("--quantization", "fp8")}), "0.32.0"))
    assert len(seen) == len(changed) + 4
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in lfm2.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    (moved / "README.md").write_text("read me")
    assert vllm.digest(Vllm(model=str(moved), max_model_len=64, start_timeout=1), "0.32.0") in seen


def test_a_server_that_cannot_start_says_why_at_once(config: Vllm, tmp_path: Path) -> None:
    start = time.monotonic()
    wrong = config.model_copy(update={"arguments": ("--no-such-argument",)})
    with pytest.raises(HalaError, match="no-such-argument"), serving(wrong, tmp_path / "log"):
        pass
    assert time.monotonic() - start < config.start_timeout / 4
    assert not _named(config)


def test_a_served_lfm2_computes_what_transformers_does_and_ignores_the_models_own_sampling(
    config: Vllm, lfm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "sampling" / "lfm2"
    model.mkdir(parents=True)
    for file in lfm2.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    defaults = json.loads((model / "generation_config.json").read_text())
    defaults |= {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0}
    (model / "generation_config.json").write_text(json.dumps(defaults))

    chats = parity.demo_chats(24)
    with serving(config.model_copy(update={"model": str(model)}), tmp_path / "log") as endpoint:
        answered = parity.ask(endpoint, chats, tokens=24)
        body = {"model": endpoint.model, "messages": chats[0], "max_tokens": 16}
        url = f"{endpoint.url}/chat/completions"
        plain, greedy = (
            httpx.post(url, json=body | more, timeout=60).json()["choices"][0]["message"]["content"]
            for more in ({"temperature": 1, "seed": 1}, {"temperature": 1, "seed": 1, "repetition_penalty": 1})
        )
        assert endpoint.digest != vllm.digest(config, vllm.vllm_version(config.environment))
    found = parity.compare(answered, str(model), chats, dtype="float32")
    _show(capsys, "tiny LFM2", found)
    assert found.holds
    assert found.equal + len(found.near_ties) == len(chats) == 24
    assert plain == greedy, "a default of the model got in"
    assert not _named(config), "processes of the server are left"


def test_parity_finds_out_that_lfm2_without_the_mend_is_wrong(
    config: Vllm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not vllm.on_cpu(vllm.vllm_version(config.environment)):
        pytest.skip("the mend is for the CPU build")
    chats = parity.demo_chats(8)
    unmended = config.model_copy(update={"variables": {"VLLM_PLUGINS": ""}})
    with serving(unmended, tmp_path / "log") as endpoint:
        answered = parity.ask(endpoint, chats, tokens=8)
    found = parity.compare(answered, config.model, chats, dtype="float32")
    _show(capsys, "tiny LFM2 without the mend", found)
    assert found.divergences
    assert found.max_difference > 100 * found.tolerance
    with pytest.raises(HalaError, match="does not compute"):
        parity.require(found, "vLLM")


def test_no_process_is_left_when_the_parent_is_killed(config: Vllm, holder: subprocess.Popen[str]) -> None:
    assert len(_named(config)) >= 1
    group = _group(config)
    assert len(group) >= 2, "the server is one process: the test would show nothing"
    holder.kill()
    holder.wait()
    _wait_until(lambda: not _alive(group))


def test_no_process_is_left_when_even_the_watchdog_is_killed(config: Vllm, holder: subprocess.Popen[str]) -> None:
    group = _group(config)
    assert len(group) >= 2
    (watchdog,) = (pid for pid in _named(config) if b"watchdog.py" in _command(pid))
    os.kill(watchdog, signal.SIGKILL)
    _wait_until(lambda: not _alive(group))
    assert holder.poll() is None


def _nowhere(tmp_path: Path) -> Vllm:
    return Vllm(model=str(tmp_path), environment=tmp_path / ".venv-serve")


def _show(capsys: pytest.CaptureFixture[str], what: str, found: parity.Parity) -> None:
    with capsys.disabled():
        sys.stdout.write("".join(f"\n  {what}: {line}" for line in found.lines()[:2]) + "\n")


def _named(config: Vllm) -> list[int]:
    """Return the processes that have the model on their command line, but for those of the tests themselves."""
    return [
        pid
        for pid in _processes()
        if config.model.encode() in (line := _command(pid))
        and (b"watchdog.py" in line or b"serve" in line.split(b"\0"))
    ]


def _group(config: Vllm) -> list[int]:
    """Return every process of the server's group."""
    (server,) = (pid for pid in _named(config) if b"watchdog.py" not in _command(pid))
    return [pid for pid in _processes() if _group_of(pid) == server]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _alive(group: list[int]) -> list[int]:
    return [pid for pid in group if _command(pid)]


def _command(pid: int) -> bytes:
    """Return the command line of a process; that of one which has ended is empty."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "processes of the server are left"
        time.sleep(0.2)
