"""Help and errors come at once, because no heavy library is imported for them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import factories

HEAVY = (
    "pydantic", "pyarrow", "datasets", "huggingface_hub", "starlette", "uvicorn", "jinja2", "yaml", "numpy", "pandas",
    "lz4", "torch", "transformers",
)  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "import hala_release",
        "import hala_release.errors",
        "from hala_release.cli import cli; cli(['--help'], standalone_mode=False)",
        "from hala_release.cli import cli; cli(['--version'], standalone_mode=False)",
        "from hala_release.cli import cli; cli(['adopt', '--help'], standalone_mode=False)",
        "from hala_release.cli import cli; cli(['push', '--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported(code: str, tmp_path: Path) -> None:
    program = f"import sys\n{code}\nprint('imported', sorted(set({HEAVY!r}) & sys.modules.keys()))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "imported []"


def test_every_library_that_is_watched_is_here_to_be_imported() -> None:
    for name in HEAVY:
        assert find_spec(name), name


def test_with_json_a_mistake_on_the_command_line_is_a_document_too(tmp_path: Path) -> None:
    run = factories.hala_release("plan", "--jsno", "--json", cwd=tmp_path)
    assert run.returncode == 2
    assert json.loads(run.stdout)["error"]["type"] == "ConfigError"
    assert "--jsno" in json.loads(run.stdout)["error"]["message"]
