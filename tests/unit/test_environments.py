"""Locks hold what their floors ask for, nothing else than releases, and no place of the machine that made them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from hala_release.errors import EngineMissing, HalaError
from pipeline import environments
from pipeline.environments import FOLDER, LOCKS, Lock

BETAS_ONLY = "opentelemetry-"
"""Distributions that were never released but as betas."""


def pins(lines: list[str]) -> dict[str, Version]:
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)(?: ;.*)?", line) for line in lines if not line.startswith("#")]
    assert all(found), [line for line, one in zip(lines, found, strict=False) if not one]
    return {one[1].lower().replace("_", "-").replace(".", "-"): Version(one[2]) for one in found if one}


def before_release(found: dict[str, Version]) -> list[str]:
    return [pin for pin, version in found.items() if version.is_prerelease and not pin.startswith(BETAS_ONLY)]


def committed(name: str) -> dict[str, Version]:
    return pins((environments.ROOT / LOCKS[name].folder / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def floors(lock: Lock) -> list[Requirement]:
    path = Path(environments.ROOT, next(one for one in reversed(lock.floors) if one.endswith(".in")))
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_keeps_its_floors_and_holds_releases_only(name: str) -> None:
    found = committed(name)
    assert len(found) > 70
    asked = floors(LOCKS[name])
    assert asked
    for requirement in asked:
        assert any(one.operator == ">=" for one in requirement.specifier), f"{requirement} has no floor"
        assert requirement.specifier.contains(found[requirement.name.lower()].public), requirement
    assert not before_release(found)
    assert not found.keys() & set(LOCKS[name].without)


def test_every_floor_file_has_a_lock() -> None:
    folders = [FOLDER, environments.ROOT / "spaces" / "hala"]
    assert {path.name for folder in folders for path in folder.glob("*.in")} == {
        Path(one).name for lock in LOCKS.values() for one in lock.floors if one.endswith(".in")
    }
    assert {path.stem for folder in folders for path in folder.glob("*.txt")} == {*LOCKS, "models"}


@pytest.mark.skipif("HALA_RESOLVE" not in os.environ, reason="asks the package index: run `make resolve`")
@pytest.mark.parametrize("name", LOCKS)
def test_an_environment_resolves_afresh_to_nothing_older(name: str) -> None:
    fresh, lock = pins(environments.resolve(LOCKS[name])), committed(name)
    assert not before_release(fresh)
    older = {pin: (str(fresh[pin]), str(lock[pin])) for pin in fresh.keys() & lock.keys() if fresh[pin] < lock[pin]}
    assert not older, "a resolver that cannot have both takes something ancient"


@pytest.mark.skipif("HALA_RESOLVE" not in os.environ, reason="asks the package index: run `make resolve`")
def test_what_excludes_each_other_is_told(tmp_path: Path) -> None:
    both = tmp_path / "both.in"
    both.write_text("vllm>=0.32\nllmcompressor>=0.14\n", encoding="utf-8")
    with pytest.raises(HalaError, match="compressed-tensors"):
        environments.resolve(Lock((str(both),), cpu=False))


def test_a_stage_without_its_environment_says_the_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "WORK", tmp_path)
    with pytest.raises(EngineMissing, match="no-such-thing is not installed") as told:
        environments.enter(["pytest", "no-such-thing"], [])
    assert told.value.fix == "make env-work"
    environments.enter(["pytest"], [])
