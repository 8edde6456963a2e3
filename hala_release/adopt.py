"""Seal a directory that another tool made, so that nobody needs our pipeline to use our release layer."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import JsonValue

from hala_release.bundle import Bundle, ancestors, seal, walk
from hala_release.disk import copy_durably, sha256_of, sync_directory
from hala_release.errors import ConfigError, ContractError, PayloadInvalid
from hala_release.manifest import Facts, Input, Kind, Provenance
from hala_release.payload import evaluation, jsonl, lighteval, lm_eval, parquet, shards
from hala_release.payload.checkpoint import model_facts
from hala_release.payload.space import space_facts
from hala_release.talk import Talk, silence

LARGE = 100_000_000
"""Bytes of a file whose copying takes long enough to be told."""


class Adopted(NamedTuple):
    """A new bundle, and what of the directory did not go into it."""

    bundle: Bundle
    left_out: tuple[str, ...]


def adopt(source: Path, *, kind: Kind, out: Path, sort_by: str | None = None, talk: Talk = silence) -> Adopted:
    """Copy `source` into a sealed bundle at `out`.

    A dataset's JSON lines become sorted Parquet shards; Parquet and everything else is copied byte for byte. Hidden
    files are left out, and so is README.md of a dataset or a model, whose card is rendered from facts.

    Args:
        source: a directory, or one data file.
        sort_by: the column that orders rows of JSON lines; `id` where every row has one.

    Raises:
        ConfigError: `source` does not exist, or `out` does.
        PayloadInvalid: a file is not what its format promises.
    """
    if sort_by and kind != "dataset":
        raise ConfigError(f"a {kind} has no rows to sort", fix="leave out --sort-by")
    left_out = _hidden(source)
    present = _listing(source, left_out)
    if kind != "space":
        left_out |= {path for path in present if path.lower() == "readme.md"}
    with _workspace(out) as root:
        files = root / "files"
        files.mkdir()
        kept = {path: file for path, file in sorted(present.items()) if path not in left_out}
        config: dict[str, JsonValue] = {"kind": kind}
        if kind == "dataset":
            config["converted"] = _convert(kept, files, root / "scratch", sort_by, talk)
        digests = {path: _copy(file, files / path, talk) for path, file in kept.items()}
        paths = sorted(walk(files)[0])
        seal(
            root,
            name=out.name,
            facts=_facts(kind, files, paths),
            provenance=Provenance(stage="adopt", config=config, tools=_tools(kind)),
            digests=digests,
        )
    return Adopted(Bundle.open(out), tuple(sorted(left_out)))


def adopt_results(
    source: Path, *, of: Path, out: Path, said: evaluation.Said = evaluation.NOTHING, talk: Talk = silence
) -> Adopted:
    """Seal what lm-eval or LightEval measured on a model.

    The bundle holds the scores, the harness's document without paths and machines, and, where there are samples, a line
    for each item without its text.

    Args:
        source: one results file, or a directory that holds some.
        of: the bundle of the model that was measured.
        said: what the harness does not write.

    Raises:
        ConfigError: there is no results file, or they do not say something that nobody said.
        PayloadInvalid: lists everything that is wrong with them.
    """
    model = Bundle.open(of)
    model.verify()
    files, details = _results_files(source)
    runs, problems = [], []
    for file in files:
        talk(f"reading {file.name}")
        try:
            runs.append(_run(file, details))
        except PayloadInvalid as error:
            problems.append(str(error))
    if problems:
        raise PayloadInvalid(
            "these results cannot be read:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="give what lm-eval 0.4.13 or LightEval 0.13.0 wrote",
        )
    found = evaluation.measured(runs, model.manifest, said)
    with _workspace(out) as root:
        (root / "files").mkdir()
        for number, run in enumerate(runs, 1):
            name = "results.json" if len(runs) == 1 else f"results-{number}.json"
            text = json.dumps(run.document, ensure_ascii=False, indent=2, sort_keys=True)
            (root / "files" / name).write_text(text + "\n", encoding="utf-8")
        for name, items in found.samples.items():
            lines = [
                {"item": one.item, "prompt_sha256": one.prompt_sha256, "value": one.metrics[found.metrics[name]]}
                for one in items
            ]
            path = root / "files" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        told: dict[str, JsonValue] = {key: value for key, value in said._asdict().items() if value}
        seal(
            root,
            name=out.name,
            facts=found.facts,
            provenance=Provenance(
                stage="adopt",
                config={
                    "kind": "results",
                    "files": [{"name": run.file, "sha256": run.sha256} for run in runs],
                    **({"said": told} if told else {}),
                },
                inputs=(Input(name="model", manifest_sha256=model.manifest_sha256),),
                tools=_tools("results"),
                ancestors=ancestors([model]),
            ),
            digests={},
        )
    return Adopted(Bundle.open(out), ())


def _results_files(source: Path) -> tuple[list[Path], list[Path]]:
    """Return the results files of a directory, and the details that may belong to them."""
    if source.is_file():
        files = [source]
        above = next((folder for folder in source.absolute().parents if folder.name == "results"), None)
        details = above.with_name("details") if above else source.parent
    elif source.is_dir():
        files, details = sorted(source.rglob("results_*.json")), source
    else:
        raise ConfigError(f"{source} does not exist", fix="name a directory, or one results file")
    if not files:
        raise ConfigError(f"{source} has no results_*.json", fix="name what lm-eval or LightEval wrote with results")
    if strange := [file for file in files if file.is_symlink() or not re.fullmatch(r"[\w.:+-]{1,200}", file.name)]:
        raise PayloadInvalid(f"{strange[0].name!a} is a link, or has a name that no harness gives", fix="rename it")
    return files, [file for file in sorted(details.rglob("details_*.parquet")) if not file.is_symlink()]


def _run(file: Path, details: Sequence[Path]) -> evaluation.Run:
    document = evaluation.load(file)
    try:
        if lm_eval.looks_like(document):
            return lm_eval.read(file, document)
        if lighteval.looks_like(document):
            return lighteval.read(file, document, details)
    except RecursionError as error:
        raise PayloadInvalid(f"{file.name} is nested too deep", fix="give what the harness wrote") from error
    raise PayloadInvalid(
        f"{file.name} has neither the layout of lm-eval 0.4.13 nor that of LightEval 0.13.0",
        fix="give what one of them wrote",
    )


def _hidden(source: Path) -> set[str]:
    """Return the paths whose names start with a dot; of a hidden directory its own only."""
    found = set()
    for folder, folders, names in os.walk(source):
        hidden = [name for name in [*folders, *names] if name.startswith(".")]
        found |= {(Path(folder) / name).relative_to(source).as_posix() for name in hidden}
        folders[:] = [name for name in folders if name not in hidden]
    return found


def _listing(source: Path, hidden: set[str]) -> dict[str, Path]:
    if source.is_file():
        return {source.name: source}
    if not source.is_dir():
        raise ConfigError(f"{source} does not exist", fix="name a directory, or one data file")
    if (source / "manifest.json").exists() and (source / "files").is_dir():
        raise ConfigError(f"{source} is a bundle already", fix="name it in release.yaml as it is")
    present, problems = walk(source, without={source / path for path in hidden})
    if problems:
        raise PayloadInvalid(
            f"{source} cannot be published:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="rename these files; for links, copy the directory with `cp -RL`",
        )
    return present


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """Yield a directory that becomes `out` in one step at the end, and disappears when anything goes wrong."""
    if out.name in {"", ".."}:
        raise ConfigError(f"{out} cannot be made anew", fix="name the new directory with --out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists", fix="choose another --out, or remove it first")
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ContractError(f"another process is writing {out}", fix="wait for it to end") from error
        leftovers = list(partial.iterdir())  # of a run that was killed
        if foreign := [leftover.name for leftover in leftovers if not _OURS.fullmatch(leftover.name)]:
            raise ConfigError(
                f"{partial} holds what `adopt` did not write: {', '.join(foreign[:4])}",
                fix="move it, or choose another --out",
            )
        for leftover in leftovers:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            yield partial
        except BaseException:  # also Ctrl-C: what is half made goes
            shutil.rmtree(partial)
            raise
        shutil.rmtree(partial / "scratch", ignore_errors=True)
        partial.replace(out)
        sync_directory(out.parent)
    finally:
        os.close(lock)


_OURS = re.compile(r"files|scratch|manifest\.json|\.digests\.json|\..+\.partial")
"""What a run that was killed may have left in its workspace."""


def _convert(kept: dict[str, Path], files: Path, scratch: Path, sort_by: str | None, talk: Talk) -> list[JsonValue]:
    """Turn the JSON lines among `kept` into Parquet under `files`, take them out of `kept`, and say what was done."""
    sources = {path: next((s for s in jsonl.SUFFIXES if path.endswith(s)), "") for path in kept}
    lines = [path for path, suffix in sources.items() if suffix]
    data = [*lines, *(path for path in kept if path.endswith(".parquet"))]
    if scripts := [path for path in kept if path.endswith(".py")]:
        raise PayloadInvalid(f"a dataset with code: {', '.join(scripts)}", fix="remove it; loaders refuse to run it")
    if not data:
        raise PayloadInvalid(
            "no Parquet or JSON lines file; there is " + (", ".join(list(kept)[:4]) or "nothing"),
            fix="write the rows as .jsonl or .parquet",
        )
    done: list[JsonValue] = []
    taken: dict[tuple[str, str], str] = {}
    for path in data:
        only = len(data) == 1 and "/" not in path and path.removesuffix(sources[path]) not in parquet.USUAL_SPLITS
        place = (
            parquet.Place("default", "train", None, None)
            if only
            else parquet.place_of(path, sources[path] or ".parquet")
        )
        other = taken.setdefault((place.config, place.split), path)
        if other != path and (path in lines or other in lines):
            raise PayloadInvalid(
                f"{other} and {path} are both split {place.split} of configuration {place.config}",
                fix="join them into one file, or give each configuration a folder",
            )
        if path in lines:
            stem = f"{'data' if place.config == 'default' else place.config}/{place.split}"
            _, column = shards.write_shards(kept[path], files, stem=stem, scratch=scratch, sort_by=sort_by, talk=talk)
            done.append({"path": path, "sha256": sha256_of(kept.pop(path)), "sorted_by": column})
    return done


def _copy(source: Path, target: Path, talk: Talk) -> str:
    if (size := source.stat().st_size) > LARGE:
        talk(f"copying {target.name}, {size:,} bytes")
    target.parent.mkdir(parents=True, exist_ok=True)
    return copy_durably(source, target)


def _facts(kind: Kind, files: Path, paths: list[str]) -> Facts:
    match kind:
        case "dataset":
            return parquet.dataset_facts(files, [path for path in paths if path.endswith(".parquet")])
        case "model":
            return model_facts(files, paths)
        case "space":
            return space_facts(files, paths)


def _tools(kind: Kind | Literal["results"]) -> dict[str, str]:
    names = ["hala-release", "pyarrow", "datasets"] if kind == "dataset" else ["hala-release"]
    return {name: version(name) for name in names}
