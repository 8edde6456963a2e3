"""One embedded Hub for the session, and the real client speaking to it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hala_release.localhub import daemon
from hala_release.localhub.daemon import Running

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_numbers = count(1)


@dataclass(frozen=True)
class Answer:
    """What the server said to a request that no client would send."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - each test knows what it asked for
        """The body as JSON."""
        return json.loads(self.body)


Ask = Callable[..., Answer]
Fresh = Callable[..., str]


@pytest.fixture(scope="session")
def local_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running Hub over an empty directory."""
    root = tmp_path_factory.mktemp("hub") / "root"
    yield daemon.start(root)
    daemon.stop(root)


@pytest.fixture(scope="session")
def api(local_hub: Running) -> HfApi:
    """The real client with the owner's token."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=local_hub.url, token=local_hub.token)


@pytest.fixture
def anonymous(local_hub: Running) -> HfApi:
    """The real client without a token."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=local_hub.url, token=False)


@pytest.fixture
def name() -> str:
    """A repository id that nobody used yet."""
    return f"acme/repo-{next(_numbers)}"


@pytest.fixture
def dataset(api: HfApi, name: str) -> str:
    """An empty dataset repository."""
    api.create_repo(name, repo_type="dataset")
    return name


@pytest.fixture(scope="session")
def ask(local_hub: Running) -> Ask:
    """Send one raw request to the session's Hub, with the owner's token unless told otherwise."""
    return asker(local_hub)


def asker(hub: Running) -> Ask:
    """Send raw requests to a Hub."""

    def send(method: str, path: str, body: object = None, *, token: str | None = "", **headers: str) -> Answer:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token or hub.token}"
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=30)
        try:
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    return send


@pytest.fixture
def fresh(local_hub: Running, tmp_path: Path) -> Fresh:
    """Run a script in a new process that knows the Hub by its environment only; returns what it printed."""

    def run(script: str, *arguments: str, hub: Running = local_hub, **environment: str) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        hub_settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf-home")}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**kept, **hub_settings, **quiet, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
