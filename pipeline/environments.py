"""The environments of heavy libraries: a stage that is started outside of its own starts itself again inside.

`work` holds everything but vLLM, whose pins exclude those of the others: `serve` is its own, and reached over HTTP.
`make env-work` and `make env-serve` make them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hala_release.errors import EngineMissing

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".venv-work"
INSIDE = "HALA_INSIDE_WORK"
"""Set in the environment of a process that was started again, so that it does so once."""


def enter(needs: Sequence[str], arguments: Sequence[str]) -> None:
    """Return when this Python has what is needed; else run the command line in the environment `work` instead.

    Args:
        needs: distributions.
        arguments: what follows `python -m pipeline`.

    Raises:
        EngineMissing: there is no such environment, or it lacks something.
    """
    missing = [name for name in needs if not _installed(name)]
    if not missing:
        return
    what = ", ".join(missing)
    python = WORK / "bin" / "python"
    if os.environ.get(INSIDE) or not python.exists():
        raise EngineMissing(f"{what} is not installed here", fix="make env-work")
    sys.stderr.write(f"going on in {WORK.name}, which has {what}\n")
    sys.stderr.flush()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.execve(  # noqa: S606 -- a program of this checkout, arguments as a list
        python,
        [str(python), "-m", "pipeline", *arguments],
        {**os.environ, INSIDE: "1", "PYTHONPATH": path},
    )


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
