"""Which files are large and which are ignored, as git itself decides from .gitattributes and .gitignore."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hala_release.localhub import git

PATTERNS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
GITATTRIBUTES = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in PATTERNS.split()).encode()


def large(git_dir: Path, commit: str, paths: Sequence[str]) -> dict[str, bool]:
    """The paths for which .gitattributes (of any folder) says whether they are kept as large files."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        git.run(git_dir, "read-tree", commit, env=index)
        asked = _nul(paths)
        output = git.run(git_dir, "check-attr", "--cached", "--stdin", "-z", "filter", stdin=asked, env=index)
    values = output.decode("utf-8", "surrogateescape").split("\0")[:-1]
    said = zip(values[::3], values[2::3], strict=True)
    return {path: value == "lfs" for path, value in said if value != "unspecified"}


def ignored(git_dir: Path, rules: str, paths: Sequence[str]) -> set[str]:
    """The paths that a .gitignore of this content leaves out."""
    if not rules.strip():
        return set()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / ".gitignore").write_text(rules, encoding="utf-8")
        options = (f"--work-tree={scratch}", "-C", scratch, "check-ignore", "--no-index", "--stdin", "-z")
        try:
            output = git.run(git_dir.resolve(), *options, stdin=_nul(paths))
        except git.GitFailed as error:
            if str(error):
                raise
            return set()
    return set(output.decode("utf-8", "surrogateescape").split("\0")[:-1])


def _nul(paths: Sequence[str]) -> bytes:
    return "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
