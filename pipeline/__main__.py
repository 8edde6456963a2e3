"""`python -m pipeline STAGE CONFIG.yaml --from BUNDLE…`: run a stage, print where its result lies."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, HalaError
from pipeline import environments
from pipeline.stage import Inputs, Stage, load, place, run_stage

STAGES = (
    "fetch",
    "compress",
    "ingest",
    "decontaminate",
    "translate",
    "judge",
    "filter",
    "dedup",
    "pack",
    "train",
    "merge",
    "evaluate",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the stage that the command line names; where the result lies goes to stdout, everything else to stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Run one stage and print where its result lies; the same command again finds it.",
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a file like those in pipeline/configs/STAGE")
    parser.add_argument(
        "--from",
        dest="inputs",
        action="append",
        default=[],
        metavar="[ROLE=]BUNDLE",
        help="what to work on, and what it is to the stage where that takes more than one; repeatable",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="instead of the file's; repeatable",
    )
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where results lie (default: out)")
    parser.add_argument("--again", action="store_true", help="make the result anew")
    parser.add_argument("--check", action="store_true", help="read the configuration, and run nothing")
    given = parser.parse_args(arguments)
    try:
        stage: Stage[Any] = import_module(f"pipeline.{given.stage}").STAGE
        inputs = _inputs(stage, given.inputs)
        told = {
            takes.key: str(one.files)
            for role, takes in stage.takes.items()
            if takes.key
            for one in inputs.get(role, ())
        }
        config = load(given.config, stage.config, {**told, **dict(map(_override, given.overrides))})
        if given.check:
            config.identity()  # finds the files that the configuration names
            return 0
        root = place(stage, config, inputs, given.out)
        if given.again or not (root / "manifest.json").exists():
            environments.enter((*stage.tools, *config.needs()), sys.argv[1:] if arguments is None else arguments)
        with contextlib.redirect_stdout(sys.stderr):  # some libraries log to stdout
            bundle = run_stage(stage, config, inputs, given.out, again=given.again)
    except ModuleNotFoundError as error:
        why = _elsewhere(error, given.stage, sys.argv[1:] if arguments is None else arguments)
        sys.stderr.write(f"error: {why}\n  fix: {why.fix}\n")
        return why.exit_code
    except OSError as error:
        sys.stderr.write(
            f"error: {error}\n  fix: see to its permissions or to the room on the disk, and run it again\n"
        )
        return HalaError.exit_code
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    sys.stdout.write(f"{bundle.root}\n")
    return 0


def _elsewhere(error: ModuleNotFoundError, stage: str, arguments: Sequence[str]) -> HalaError:
    """Go on where a module is that this Python lacks, or return why not."""
    try:
        environments.enter((str(error.name),), arguments)
    except HalaError as told:
        return told
    return HalaError(f"{stage}: {error}", fix="make env-work")


def _inputs(stage: Stage[Any], given: Sequence[str]) -> Inputs:
    found: dict[str, list[Bundle]] = {}
    for text in given:
        role, equals, path = text.partition("=")
        if not equals or "/" in role:
            needed = [one for one, takes in stage.takes.items() if not takes.optional]
            role, path = next(iter(needed), "rows"), text
            if len(needed) > 1:
                fix = " or ".join(f"--from {one}={text}" for one in stage.takes)
                raise ConfigError(f"--from {text}: what is it to the stage {stage.name}?", fix=f"write {fix}")
        found.setdefault(role, []).append(Bundle.open(Path(path)))
    return found


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: no `=`", fix="write --set KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {text}: the value is not YAML", fix="put texts with special characters in quotes"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
