"""The demo family, pushed by the command line once for every client that is to read it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hala_release.adopt import adopt
from hala_release.localhub import daemon
from pipeline.demo import corpus, model
from tests.publish import families

FLOOR = "HALA_FLOOR_PYTHON"
TAG = "v1.0.0"
DEMO = Path(__file__).parents[2] / "pipeline" / "demo" / "release.yaml"


class Setting(NamedTuple):
    """A Python with its libraries, and whether they use Xet."""

    python: str
    xet: bool

    @property
    def environment(self) -> dict[str, str]:
        """What the setting adds to a process."""
        return {} if self.xet else {"HF_HUB_DISABLE_XET": "1"}


class Published(NamedTuple):
    """The demo family on a Hub of its own, and who pushed it."""

    setting: Setting
    hub: daemon.Running
    folder: Path
    corpus: str
    model: str

    def script(self, name: str) -> Path:
        """Return a console script that is installed beside the interpreter."""
        return Path(self.setting.python).parent / name

    def run(self, script: str, *arguments: object, home: Path) -> str:
        """Run a Python script of a stranger and return what it printed."""
        python, more = self.setting.python, self.setting.environment
        return families.python(
            script, *(str(argument) for argument in arguments), hub=self.hub, home=home, interpreter=python, **more
        )


floor = pytest.mark.skipif(
    FLOOR not in os.environ, reason=f"{FLOOR} does not name a Python with the oldest huggingface_hub"
)
SETTINGS = [
    pytest.param(Setting(sys.executable, xet=True), id="current-xet"),
    pytest.param(Setting(sys.executable, xet=False), id="current-plain"),
    pytest.param(Setting(os.environ.get(FLOOR, ""), xet=True), id="floor-xet", marks=floor),
    pytest.param(Setting(os.environ.get(FLOOR, ""), xet=False), id="floor-plain", marks=floor),
]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release.yaml of the demo family beside its sealed bundles."""
    folder = tmp_path_factory.mktemp("demo")
    corpus.write_corpus(folder / "raw" / "corpus")
    model.write_model(folder / "raw" / "model", model.corpus_texts(folder / "raw" / "corpus"))
    adopt(folder / "raw" / "corpus", kind="dataset", out=folder / "corpus")
    adopt(folder / "raw" / "model", kind="model", out=folder / "model")
    document: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    for artifact in document["artifacts"]:
        artifact["bundle"] = artifact["kind"].replace("dataset", "corpus")
    release = folder / "release.yaml"
    release.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return release


@pytest.fixture(scope="session", params=SETTINGS)
def published(
    request: pytest.FixtureRequest, demo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    """The demo family, pushed by one setting to a Hub that knew nothing."""
    setting: Setting = request.param
    hub = daemon.start(tmp_path_factory.mktemp("clients") / "hub")
    home = tmp_path_factory.mktemp("home")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE_"))}
    done = subprocess.run(
        [Path(setting.python).parent / "hala-release", "push", demo, "--hub", hub.url, "--yes"],
        cwd=home,
        env={**kept, "HF_HOME": str(home), "HF_TOKEN": hub.token, **setting.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield Published(setting, hub, demo.parent, "hala-demo/hala-demo-corpus", "hala-demo/hala-demo-model")
    daemon.stop(hub.root)
