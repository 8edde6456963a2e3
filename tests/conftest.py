"""What every test stands on: an environment of its own, loopback only, and one embedded Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The client reads these when it is imported, so they are set before any test module is.
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_"))]:
    del os.environ[name]
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hala-release-tests-")
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.release import Release, load
from tests import factories


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the files of tests/golden, then read them")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemon.Running]:
    """One embedded Hub for the whole run; tests keep apart by namespace."""
    root = tmp_path_factory.mktemp("embedded") / "hub"
    yield daemon.start(root)
    daemon.stop(root)


@pytest.fixture
def hub(embedded: daemon.Running) -> Hub:
    """The embedded Hub as the release layer sees it, with the right to write."""
    return Hub(embedded.url, embedded.token)


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """The release.yaml of a small dataset and a small model, sealed and unpublished, in a namespace of its own."""
    return factories.family(tmp_path)


@pytest.fixture
def release(family: Path) -> Release:
    """The same, loaded."""
    return load(family)
