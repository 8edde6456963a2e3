"""The Space as people meet it: published with a real small model, and with the backend that says back what it was told.

`make test-space` runs this folder: it has the small model, and an index from which the Space's requirements come.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.localhub import daemon
from hala_release.release import load
from hala_release.wanted import wanted
from tests import factories
from tests.browser.conftest import browser, context, page, screenshot

__all__ = ["browser", "context", "page", "screenshot"]

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "spaces" / "hala"
ENVIRONMENTS = ROOT / ".venv-spaces"
"""Environments of Spaces, made by the embedded Hub from their requirements and kept."""
START = 120.0
PINS = {f"acme/{name}": letter * 40 for name, letter in (("small", "a"), ("large", "b"), ("base", "c"))}


class App(NamedTuple):
    """A Space that runs."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")


Serve = Callable[..., AbstractContextManager[App]]


class Published(NamedTuple):
    """A family on an embedded Hub."""

    release: Path
    hub: daemon.Running
    out: str
    """What the push printed."""


@pytest.fixture(scope="session")
def smollm() -> Path:
    """SmolLM2-135M-Instruct, written once per checkout."""
    if not (serve := os.environ.get("HALA_SERVE")):
        pytest.skip("needs a small real model: run `make test-space`")
    out = ROOT / "out" / "models" / "smollm"
    command: list[str | Path] = [Path(serve, "bin", "python"), "-m", "pipeline.demo.packaged", "smollm", out]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return out


@pytest.fixture(scope="session")
def spaces_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemon.Running]:
    """An embedded Hub that keeps the environments of Spaces in this checkout."""
    root = tmp_path_factory.mktemp("spaces") / ".hala" / "hub"
    os.environ["HALA_SPACE_ENVIRONMENTS"] = str(ENVIRONMENTS)
    yield daemon.start(root)
    daemon.stop(root)


@pytest.fixture(scope="session")
def space_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Space of this checkout, sealed."""
    return adopt(SOURCE, kind="space", out=tmp_path_factory.mktemp("bundle") / "space").bundle.root


@pytest.fixture(scope="session")
def published(smollm: Path, space_bundle: Path, spaces_hub: daemon.Running) -> Published:
    """A family of one model and its Space, pushed by the command line as a maintainer does it."""
    folder = spaces_hub.root.parents[1]
    adopt(smollm, kind="model", out=folder / "smollm")
    (folder / "space").symlink_to(space_bundle)
    model: dict[str, Any] = {"kind": "model", "repo": "smol", "title": "SmolLM2 135M", "bundle": "smollm"}
    model |= {"summary": "A small English model.", "limits": "It knows no Arabic.", "limits_ar": "لا يعرف العربية."}
    space: dict[str, Any] = {
        "kind": "space",
        "repo": "chat",
        "title": "حلا Hala",
        "bundle": "space",
        "summary": "To chat with it.",
    }
    space |= {"chat": ["smol"], "translate": {"ar": "smol", "en": "smol"}}
    document = {"name": "hala", "namespace": "acme", "version": "1.0.0", "license": "apache-2.0", "language": ["en"]}
    release = folder / "release.yaml"
    release.write_text(yaml.safe_dump({**document, "artifacts": [model, space]}, allow_unicode=True), encoding="utf-8")
    done = push(release, spaces_hub)
    assert done.returncode == 0, done.stderr
    return Published(release, spaces_hub, done.stderr)


def push(release: Path, hub: daemon.Running) -> subprocess.CompletedProcess[str]:
    """Push as a maintainer does."""
    return factories.hala_release(
        "push", str(release), "--hub", hub.url, "--yes", cwd=release.parent, HF_TOKEN=hub.token
    )


@pytest.fixture(scope="session")
def echo_family(tmp_path_factory: pytest.TempPathFactory, space_bundle: Path) -> Path:
    """The files of the Space for a family of two models and their base, one of them measured."""
    folder = tmp_path_factory.mktemp("echo")
    models: list[dict[str, Any]] = []
    for name in PINS:
        repo = name.rpartition("/")[2]
        adopt(factories.write_model(folder / "raw" / repo), kind="model", out=folder / repo)
        models.append({"kind": "model", "repo": repo, "title": f"Hala {repo}", "bundle": repo})
    for model in models[:2]:
        model |= {"base": "acme/base", "relation": "finetune"}
    sealed = wanted_model(folder / "small")
    factories.write_results(folder / "results", sealed, factories.score())
    models[0]["results"] = ["results"]
    space: dict[str, Any] = {"kind": "space", "repo": "chat", "title": "حلا Hala", "bundle": str(space_bundle)}
    space |= {"chat": ["small", "large"], "translate": {"ar": "small", "en": "large"}}
    space["prompts"] = {"ar": "{text}", "en": "{text}"}
    release = factories.write_release(folder / "release.yaml", namespace="acme", artifacts=[*models, space])
    want = wanted(load(release), folder)[-1].pinned(PINS)
    app = folder / "app"
    for path in want.paths:
        place = app / path
        place.parent.mkdir(parents=True, exist_ok=True)
        source = want.source(path)
        place.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    return app


def wanted_model(folder: Path) -> Bundle:
    """Open a sealed model."""
    return Bundle.open(folder)


@pytest.fixture(scope="session")
def space_python(published: Published) -> Path:  # noqa: ARG001 -- its push makes the environment
    """The Python with the Space's requirements and nothing else."""
    return next(
        folder / "bin" / "python"
        for folder in ENVIRONMENTS.iterdir()
        if (folder / "complete").exists() and any(folder.glob("lib/*/site-packages/transformers"))
    )


@pytest.fixture(scope="session")
def serve(echo_family: Path, space_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Serve the echo family with given variables until the end of a `with`."""

    @contextmanager
    def run(**variables: str) -> Iterator[App]:
        folder = tmp_path_factory.mktemp("serve")
        shutil.copytree(echo_family, folder / "app")
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            "HOME": str(folder),
            "HALA_BACKEND": "echo",
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_OFFLINE": "1",
            **variables,
        }
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [space_python, "app.py"], cwd=folder / "app", env=environment, stdout=out, stderr=out
            )
        app = App(f"http://127.0.0.1:{port}", process, log)
        try:
            _answers(app, port)
            yield app
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return run


@pytest.fixture(scope="module")
def echo(serve: Serve) -> Iterator[App]:
    """One such app for a module."""
    with serve() as app:
        yield app


def _answers(app: App, port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        assert app.process.poll() is None, app.said()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise AssertionError(f"the app does not answer:\n{app.said()}")
