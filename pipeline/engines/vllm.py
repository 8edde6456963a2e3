"""vLLM as a server that a stage starts and stops; the only place that knows how it is called.

vLLM lives in an environment of its own, because its pins and those of the other heavy libraries exclude each other. It
is reached over its OpenAI-compatible protocol and never imported here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import Field, model_validator

from hala_release.disk import sha256_of
from hala_release.errors import EngineMissing, HalaError
from hala_release.manifest import Record
from pipeline.engines.endpoint import Endpoint

WATCHDOG = Path(__file__).with_name("watchdog.py")
UNWEIGHED = (".md", ".png", ".lock")
"""Endings of files beside a model that decide nothing of what it answers."""
OWN = ("--host", "--port", "--served-model-name", "--revision", "--dtype", "--max-model-len", "--chat-template")
"""Arguments that are not to be given twice."""
TAIL_LINES = 20
"""Lines of the log that an error shows."""

CPU_ARGUMENTS = ("--enforce-eager",)
CPU_VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
"""Without them it compiles for half a minute at each start, takes half of the memory, and leaves a core idle."""


class Vllm(Record):
    """A model that vLLM serves while a stage needs it."""

    kind: Literal["vllm"] = "vllm"
    model: str
    """A local directory, or the id of a repository on the Hub with its `revision`."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """The commit of the repository."""
    environment: Path = Path(".venv-serve")
    """The virtual environment with vLLM."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """What vLLM computes in; `auto` is what the weights are stored in."""
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    """Tokens of prompt and answer together; the model's own limit where nothing is said."""
    chat_template: Path | None = None
    """Instead of the model's own."""
    arguments: tuple[str, ...] = ()
    """More arguments of `vllm serve`."""
    variables: Mapping[str, str] = {}
    """Environment variables of the server; they win over those that the device gets by default."""
    start_timeout: Annotated[float, Field(gt=0)] = 900
    """Seconds until it has to answer."""
    stop_timeout: Annotated[float, Field(gt=0)] = 20
    """Seconds that it has to end by itself."""

    @model_validator(mode="after")
    def _complete(self) -> Vllm:
        if not self.local and self.revision is None:
            raise ValueError(f"{self.model} is no directory here; an id of the Hub needs `revision`, 40 hex digits")
        if self.local and self.revision is not None:
            raise ValueError(f"{self.model} is a directory and has no `revision`")
        if twice := sorted({argument.partition("=")[0] for argument in self.arguments} & {*OWN, "--generation-config"}):
            raise ValueError(f"`arguments` may not hold {', '.join(twice)}")
        return self

    @property
    def local(self) -> bool:
        """Whether the model lies in a directory of this machine."""
        return Path(self.model).is_dir()

    @property
    def bundle(self) -> bool:
        """Whether it lies in a sealed bundle."""
        return (Path(self.model).absolute().parent / "manifest.json").exists()

    @property
    def compressed(self) -> bool:
        """Whether it is a local model with quantized weights."""
        config = Path(self.model) / "config.json"
        return config.is_file() and "quantization_config" in json.loads(config.read_bytes())

    @property
    def name(self) -> str:
        """What requests call the model: the directory, and of a bundle that of the bundle."""
        if not self.local:
            return self.model
        path = Path(self.model).absolute()
        return path.parent.name if self.bundle else path.name


@contextmanager
def serving(config: Vllm, log: Path) -> Iterator[Endpoint]:
    """Serve the model on a free port of this machine until the block is left, or this process dies.

    Args:
        log: what the server says goes to this file.

    Raises:
        EngineMissing: the environment has no vLLM.
        HalaError: the server died, or did not answer in time.
    """
    version = vllm_version(config.environment)
    identity = digest(config, version)
    port = _free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        watchdog = subprocess.Popen(
            [
                *(sys.executable, "-I", str(WATCHDOG), str(os.getpid()), str(config.stop_timeout)),
                *command(config, version, port),
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=variables(config, version, os.environ),
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(config, url, watchdog, log)
        yield Endpoint(url=f"{url}/v1", model=config.name, digest=identity)
    finally:
        watchdog.send_signal(signal.SIGTERM)
        watchdog.wait()


def command(config: Vllm, version: str, port: int) -> list[str]:
    """Return the command line of the server.

    The model's own sampling defaults stay out: without `--generation-config vllm` a temperature or a penalty from
    generation_config.json would apply to each request that does not name it.
    """
    return [
        *(str(config.environment.absolute() / "bin" / "vllm"), "serve", config.model),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", config.name),
        *("--generation-config", "vllm", "--dtype", config.dtype, "--disable-uvicorn-access-log"),
        *(("--revision", config.revision) if config.revision else ()),
        *(("--max-model-len", str(config.max_model_len)) if config.max_model_len else ()),
        *(("--chat-template", str(config.chat_template.absolute())) if config.chat_template else ()),
        *(CPU_ARGUMENTS if on_cpu(version) else ()),
        *config.arguments,
    ]


def variables(config: Vllm, version: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: that of this process less its Python, and what the device and the YAML say."""
    kept = {key: value for key, value in inherited.items() if key not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    return {
        **kept,
        "PATH": os.pathsep.join([str(config.environment.absolute() / "bin"), inherited.get("PATH", os.defpath)]),
        "VLLM_NO_USAGE_STATS": "1",
        **({"HF_HUB_OFFLINE": "1"} if config.local else {}),
        **(CPU_VARIABLES if on_cpu(version) else {}),
        **config.variables,
    }


def digest(config: Vllm, version: str) -> str:
    """Return what changes when answers may: the model's files or commit, vLLM, and how vLLM is told to compute."""
    model: object
    if config.local:
        root = Path(config.model)
        paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.endswith(UNWEIGHED))
        with ThreadPoolExecutor() as threads:
            model = dict(
                zip([path.relative_to(root).as_posix() for path in paths], threads.map(sha256_of, paths), strict=True)
            )
    else:
        model = [config.model, config.revision]
    template = config.chat_template and sha256_of(config.chat_template)
    inherited = {key: value for key, value in os.environ.items() if key.startswith("VLLM_")}
    parts = [model, version, config.dtype, template, config.arguments, {**inherited, **config.variables}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def vllm_version(environment: Path) -> str:
    """Return the version of vLLM in a virtual environment; that of the CPU build has `cpu` in it.

    Raises:
        EngineMissing: there is none.
    """
    found = sorted(environment.glob("lib/python*/site-packages/vllm-*.dist-info"))
    if not found or not (environment / "bin" / "vllm").exists():
        fix = "make env-serve" if environment.name == ".venv-serve" else "see pipeline/envs/serve-cpu.in"
        raise EngineMissing(f"{environment} has no vLLM", fix=fix)
    return found[-1].name.removeprefix("vllm-").removesuffix(".dist-info")


def on_cpu(version: str) -> bool:
    """Tell the CPU build of vLLM by its version."""
    return "cpu" in version


def _wait(config: Vllm, url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers for the model."""
    deadline = time.monotonic() + config.start_timeout
    with httpx.Client(trust_env=False, timeout=5) as client:
        while True:
            status = server.poll()
            if status is not None:
                raise HalaError(f"vLLM ended with {status} before it was ready:\n{_tail(log)}", fix=_advice(log))
            try:
                if client.get(f"{url}/health").is_success:
                    models = [model["id"] for model in client.get(f"{url}/v1/models").json()["data"]]
                    if models == [config.name]:
                        return
                    raise HalaError(f"another server answers at {url}, with {models}", fix="run it again")
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                raise HalaError(
                    f"vLLM did not answer within {config.start_timeout:g} s:\n{_tail(log)}",
                    fix=f"raise `start_timeout`, or read {log}",
                )
            time.sleep(0.25)


def _advice(log: Path) -> str:
    """Say what to do about the causes that can be told from the log."""
    said = log.read_text(encoding="utf-8", errors="replace")
    if "Address already in use" in said:
        return "run it again; another program took the port in between"
    if "out of memory" in said.lower() or "Available memory" in said:
        return "lower `max_model_len`, or the memory that vLLM takes, with `arguments` or `variables`"
    return f"read {log}"


def _tail(log: Path) -> str:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace")).splitlines()
    return "\n".join(f"  {line[:400]}" for line in lines[-TAIL_LINES:])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
