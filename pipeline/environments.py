"""The environments of heavy libraries: how a stage gets into its own, and how their locks are made.

`work` holds everything but vLLM, whose pins exclude those of the others: `serve` is its own, and reached over HTTP.
Floors are in pipeline/envs/*.in, the locks made from them in pipeline/envs/*.txt; `make env-work` and `make env-serve`
install a lock, `python -m pipeline.environments` makes all of them anew, and those of the Space with them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from hala_release.errors import EngineMissing, HalaError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "pipeline" / "envs"
WORK = ROOT / ".venv-work"
INSIDE = "HALA_INSIDE_WORK"
"""Set in the environment of a process that was started again, so that it does so once."""


class Lock(NamedTuple):
    """How one lock is made."""

    floors: tuple[str, ...]
    """Files and extras to resolve together."""
    cpu: bool
    """Whether torch has to be the build for CPUs, which pip finds at its `find-links`."""
    without: tuple[str, ...] = ()
    """Packages that are asked for and left out: their builds are for CUDA, and fail beside a torch for CPUs."""
    python: str = "3.11"
    folder: str = "pipeline/envs"
    any_torch: bool = False
    """Whether torch is named without its build, so that pip takes the one that it finds."""


_PIPELINE = ("pyproject.toml", "--extra", "corpus", "--extra", "demo")
LOCKS = {
    "work-cpu": Lock((*_PIPELINE, "pipeline/envs/work.in"), cpu=True),
    "work-cuda": Lock((*_PIPELINE, "pipeline/envs/work.in"), cpu=False),
    "serve-cpu": Lock(("pipeline/envs/serve-cpu.in",), True, ("torchvision", "torchaudio", "torchcodec", "triton")),
    "serve-cuda": Lock(("pipeline/envs/serve-cuda.in",), cpu=False),
    "requirements": Lock(("spaces/hala/requirements.in",), cpu=True, folder="spaces/hala", any_torch=True),
    "requirements-zero": Lock(("spaces/hala/requirements-zero.in",), cpu=False, python="3.12", folder="spaces/hala"),
}


def enter(needs: Sequence[str], arguments: Sequence[str], module: str = "pipeline") -> None:
    """Return when this Python has what is needed; else run the command line in the environment `work` instead.

    Args:
        needs: distributions.
        arguments: what follows `python -m MODULE`.

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
        [str(python), "-m", module, *arguments],
        {**os.environ, INSIDE: "1", "PYTHONPATH": path},
    )


def resolve(lock: Lock) -> list[str]:
    """Return what the floors of a lock resolve to today, a line a distribution.

    Raises:
        HalaError: they exclude each other, or a build for CPUs is not found.
    """
    links = os.environ.get("PIP_FIND_LINKS", "") if lock.cpu else ""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", *lock.floors),
            *("--python-version", lock.python, "--python-platform", "x86_64-manylinux_2_28"),
            *("--no-annotate", "--no-header", "--no-emit-find-links", "--no-emit-index-url"),
            *(option for name in lock.without for option in ("--no-emit-package", name)),
        ],
        cwd=ROOT,
        env={**os.environ, "UV_FIND_LINKS": links},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise HalaError(f"{' '.join(lock.floors)} do not resolve:\n{ended.stderr.strip()}", fix="move the floors")
    found = [line for line in ended.stdout.splitlines() if line and not line.lstrip().startswith("#")]
    if lock.cpu and not any(line.startswith("torch==") and "+cpu" in line for line in found):
        raise HalaError(
            "there is no build of torch for CPUs among what pip finds",
            fix="name the place of one in PIP_FIND_LINKS: a folder of wheels, or PyTorch's own index of CPU builds",
        )
    return [line.replace("+cpu", "") for line in found] if lock.any_torch else found


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> int:
    """Write every lock anew."""
    try:
        for name, lock in LOCKS.items():
            floors = next(one for one in reversed(lock.floors) if one.endswith(".in"))
            head = f"# Made from {Path(floors).name} by `make locks`, for Python {lock.python} on Linux, x86-64.\n"
            (ROOT / lock.folder / f"{name}.txt").write_text(head + "\n".join(resolve(lock)) + "\n", encoding="utf-8")
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
